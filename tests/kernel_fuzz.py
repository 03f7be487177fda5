"""Random cases of the Triton kernels against float64, by a seed each: complaints, or nothing.

Sizes stand at the edges of tiles; tiles are small in most cases, so that several programs share the work.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from interpreter_sanitizer import Sanitizer
from mixed_cells import FLOATS, Inputs, errors_nearby, gradients, make
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.mgd import combine, gramian
from modnas_fast.runtime import implementations
from modnas_fast.spaces.nb201.mixed_cell import mixed_cell
from modnas_fast.supernets.elastic_depthwise import elastic_depthwise
from modnas_fast.supernets.entangled_linear import entangled_linear
from modnas_fast.supernets.norm_activation import norm_activation

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
#: as in test_mixed_cell_triton.py
FLOORS = {torch.bfloat16: 12 * torch.finfo(torch.bfloat16).eps, torch.float64: 1e-12}
FLOORS |= {dtype: 4 * torch.finfo(dtype).eps for dtype in (torch.float16, torch.float32)}


@contextmanager
def interpreted(*ops: str) -> Iterator[pytest.MonkeyPatch]:
    """Within it the operations are served by interpreted kernels where "triton" is asked for."""
    usable = implementations.Availability(True, "interpreted")
    with pytest.MonkeyPatch.context() as patches:
        for op in ops:
            patches.setitem(implementations._FAST[op], "cpu", [("triton", lambda: usable)])
        yield patches


# ---- mixed_cell ----


def fuzz_cell(seed: int, found: Sanitizer) -> list[str]:
    """One cell with all gradients, or some of them."""
    from modnas_fast.kernels import cell_arguments, mixed_reduction, mixed_weights

    draw = random.Random(seed)
    shape = draw.randint(1, 3), draw.choice([1, 2, 3, 5, 15, 16, 17, 24]), *draw.choices([1, 2, 3, 4, 5, 7], k=2)
    if shape[0] * shape[2] * shape[3] < 2:
        shape = 2, *shape[1:]
    selection = draw.choice(["path", "path", "mixture", "some", "none"])
    options = {
        "single_path": selection in ("path", "none") and draw.random() < 0.6,
        "recompute": draw.random() < 0.3,
    }
    dtype, shared = draw.choice(DTYPES), draw.random() < 0.4
    needed = FLOATS if draw.random() < 0.7 else tuple(draw.sample(FLOATS, 2))
    exact = make(shape, draw.randint(1, 3), selection, shared, seed)
    given = exact.to(torch.promote_types(dtype, torch.float32))._replace(x=exact.x.to(dtype))
    truth, plain = _reference_cell(exact), _reference_cell(given)
    with interpreted("mixed_cell") as patches, implementations.using("triton"):
        if draw.random() < 0.5:
            small = cell_arguments.Tiles(16, 16, 16, 16, 16, 16)
            patches.setattr(cell_arguments, "_TILES", dict.fromkeys(cell_arguments._TILES, small))
        patches.setattr(mixed_reduction, "_GROUP", draw.choice([1, 2, 8]))
        patches.setattr(mixed_weights, "_PROGRAMS", draw.choice([7, 64, 140]))
        result = gradients(mixed_cell, given, needed, **options)
    complaints, nearby = [], None
    for name, value in result.items():
        floor = FLOORS[dtype] * (1 + float(torch.linalg.vector_norm(truth[name])))
        own, error = (float(torch.linalg.vector_norm(v.double() - truth[name])) for v in (plain[name], value))
        if not error <= 2 * own + floor and dtype == torch.float32:
            nearby = nearby or errors_nearby(_reference_cell, exact)
            own = nearby[name]
        if not error <= 2 * own + floor:
            complaints.append(f"cell {name}: off by {error:.1e}, the reference by {own:.1e}, floor {floor:.1e}")
    return complaints


def _reference_cell(inputs: Inputs) -> dict[str, Tensor]:
    with implementations.using("reference"):
        return gradients(mixed_cell, inputs)


# ---- gramian and combine ----


def fuzz_gramian(seed: int, found: Sanitizer) -> list[str]:
    """One set of gradients, as a matrix or as pieces per device, some of which are missing."""
    from modnas_fast.kernels import gramian as kernels

    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    count = draw.choice([1, 2, 3, 7, 8, 9, 13, 16, 17, 31, 33])
    lengths = [draw.choice([0, 1, 2, 63, 64, 65, 129, 300]) for _ in range(draw.randint(1, 3))]
    pieces = [
        torch.randn(count, length, generator=generator, dtype=torch.float64).to(draw.choice(DTYPES))
        for length in lengths
    ]
    weights = torch.randn(count, generator=generator, dtype=torch.float64)
    given: Any
    if draw.random() < 0.4:
        wide = torch.randn(count, 2 * lengths[0] + 2, generator=generator, dtype=torch.float64).to(draw.choice(DTYPES))
        given = draw.choice([wide[:, : lengths[0]], wide[:, 1 : lengths[0] + 1], wide.T.contiguous().T])
        pieces = [given]
    else:
        missing = [[draw.random() < 0.15 for _ in range(count)] for _ in pieces]
        missing[0] = [False] * count
        for piece, absent in zip(pieces, missing):
            piece[torch.tensor(absent)] = 0
        rows = [
            [None if gone else piece[t].clone() for t, gone in enumerate(row)] for piece, row in zip(pieces, missing)
        ]
        given = [list(device) for device in zip(*rows)]
        found.addressed = [row for piece in rows for row in piece if row is not None]
    with interpreted("gramian", "combine") as patches, implementations.using("triton"):
        for name, value in zip(
            ("_TILES", "_PROGRAMS", "_SLOTS"), draw.choice([(16, 1024, 256), (1, 5, 2), (2, 64, 16)])
        ):
            patches.setattr(kernels, name, value)
        gram, update = gramian(given), combine(weights, given)
    found.addressed = []
    joined = torch.cat([piece.double() for piece in pieces], dim=1)
    magnitudes = joined.abs() @ joined.abs().T
    complaints = []
    if not (gram - joined @ joined.T).abs().le(1e-12 * magnitudes).all() or not torch.equal(gram, gram.T):
        complaints.append("gramian: off")
    for own, piece in zip([update] if isinstance(given, Tensor) else update, pieces):
        if own is not None:
            wanted, scale = weights @ piece.double(), weights.abs() @ piece.double().abs()
            limit = torch.finfo(piece.dtype).eps * wanted.abs() + 1e-13 * scale + torch.finfo(piece.dtype).tiny
            if not (own.double().flatten() - wanted).abs().le(limit).all():
                complaints.append("combine: off")
    return complaints


# ---- entangled_linear ----


def fuzz_linear(seed: int, found: Sanitizer) -> list[str]:
    """One layer whose devices use all, prefixes or masks of inputs and outputs, with all gradients."""
    from modnas_fast.kernels import entangled_linear as kernels

    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    count, rows = draw.choice([1, 2, 3, 5]), draw.choice([1, 2, 5, 15, 16, 17, 31, 33])
    size, outputs = draw.choice([1, 2, 7, 15, 16, 17, 33]), draw.choice([1, 3, 8, 15, 16, 17, 33])
    dtype = draw.choice(DTYPES[1:])  # the interpreter multiplies bfloat16 as integers

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).double()

    def part(width: int) -> Tensor | None:
        widths = torch.tensor([draw.choice([0, 1, width, width, draw.randint(0, width)]) for _ in range(count)])
        mask = numbers(count, width) * (torch.arange(width) < widths[:, None])
        return draw.choice([None, widths, widths, mask, mask])

    x, weight = numbers(draw.choice([1, count]), rows, size), numbers(outputs, size)
    bias, inputs, outs = draw.choice([None, numbers(outputs)]), part(size), part(outputs)
    leaves = x, weight, bias, inputs, outs
    truth = _layer(_sliced, leaves, torch.float64)
    with implementations.using("reference"):
        plain = _layer(_entangled, leaves, dtype)
    with interpreted("entangled_linear") as patches, implementations.using("triton"):
        if draw.random() < 0.7:
            small = kernels.Tiles(16, 16, 16, 4, 3)
            patches.setattr(kernels, "PRODUCT", dict.fromkeys(kernels.PRODUCT, (small,)))
            patches.setattr(kernels, "WEIGHT", dict.fromkeys(kernels.WEIGHT, small))
        result = _layer(_entangled, leaves, dtype)
    complaints = []
    for name, value in result.items():
        own, error = (_largest_gap(v, truth[name]) for v in (plain[name], value))
        if not error <= 2 * own + 40 * torch.finfo(dtype).eps:
            complaints.append(f"linear {name}: off by {error:.1e}, the reference by {own:.1e}")
    return complaints


def _entangled(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor | None, outs: Tensor | None) -> Tensor:
    return entangled_linear(x, weight, bias, inputs=inputs, outputs=outs)


def _sliced(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor | None, outs: Tensor | None) -> Tensor:
    """The layer device after device."""
    rows = []
    for t in range(max(len(x), *(len(part) for part in (inputs, outs) if part is not None), 1)):
        own, columns, width = x[t % len(x)], weight.shape[1], weight.shape[0]
        if inputs is not None and inputs.is_floating_point():
            own = own * inputs[t]
        elif inputs is not None:
            columns = int(inputs[t])
        if outs is not None and not outs.is_floating_point():
            width = int(outs[t])
        y = F.linear(own[:, :columns], weight[:width, :columns], None if bias is None else bias[:width])
        y = F.pad(y, (0, len(weight) - width))
        rows.append(y * outs[t] if outs is not None and outs.is_floating_point() else y)
    return torch.stack(rows)


def _layer(layer: Callable[..., Tensor], given: tuple[Tensor | None, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    """The output and the gradients of all floats, in one format; masks are at least in float32."""
    wide = torch.promote_types(dtype, torch.float32)
    names = ("x", "weight", "bias", "inputs", "outputs")
    leaves: dict[str, Tensor | None] = {}
    for name, tensor in zip(names, given):
        if tensor is not None and tensor.is_floating_point():
            tensor = tensor.to(wide if name in ("inputs", "outputs") else dtype).requires_grad_()
        leaves[name] = tensor
    y = layer(*leaves.values())
    wanted = {name: tensor for name, tensor in leaves.items() if tensor is not None and tensor.requires_grad}
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(torch.float16)
    found = torch.autograd.grad(y, list(wanted.values()), cotangent.to(y.dtype), materialize_grads=True)
    return {"y": y.detach(), **dict(zip(wanted, found))}


def _largest_gap(found: Tensor, truth: Tensor) -> float:
    if not truth.numel():
        return 0.0
    gap = (found.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-30)
    return float(gap) if found.isfinite().all() else float("inf")


# ---- elastic_depthwise and norm_activation ----


def fuzz_block(seed: int, found: Sanitizer) -> list[str]:
    """One convolution with norm and activation, or the latter alone, with all gradients, in float64."""
    from modnas_fast.kernels import elastic_depthwise as kernels

    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    batch, channels = draw.randint(1, 3), draw.choice([1, 2, 7, 8, 9, 16, 17])
    height, width = draw.choices([1, 2, 3, 5, 6], k=2)
    kernel, stride, activation = (
        draw.choice([None, 3, 3, 5, 7]),
        draw.choice([1, 2]),
        draw.choice([None, "relu", "hswish"]),
    )

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, scale, shift, variance = numbers(batch, channels, height, width), *numbers(3, channels)
    weight = None if kernel is None else numbers(channels, 1, kernel, kernel)
    residual = numbers(*x.shape) if kernel is None and draw.random() < 0.5 else None
    few = batch * (height // 2) * (width // 2) < 4  # numbers whose variance is almost that of two
    given = (shift.flip(0), variance.abs() + 0.2) if few or draw.random() < 0.4 else None
    leaves = [tensor for tensor in (x, scale, shift, weight, residual) if tensor is not None]

    def results() -> list[Tensor]:
        for leaf in leaves:
            leaf.requires_grad_()
        if weight is None:
            y = norm_activation(x, scale, shift, activation, 1e-5, given, residual=residual)
        else:
            assert kernel is not None
            y = elastic_depthwise(x, weight, None, None, kernel, stride, scale, shift, activation, 1e-5, given)
        dy = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
        return [y.detach(), *torch.autograd.grad(y, leaves, dy)]

    with implementations.using("reference"):
        truth = results()
    with interpreted("elastic_depthwise", "norm_activation") as patches, implementations.using("triton"):
        for name, value in (("_PIXELS", draw.choice([16, 32, 64])), ("_CHANNELS", 8), ("_SLOTS", draw.choice([1, 3]))):
            patches.setattr(kernels, name, value)
        found_here = results()
    # absolute, since a gradient may be zero but for rounding
    gaps = [float((ours - true).abs().max()) for ours, true in zip(found_here, truth, strict=True)]
    return [f"block: result {place} is off by {gap:.1e}" for place, gap in enumerate(gaps) if not gap <= 1e-9]


FUZZ: dict[str, Callable[[int, Sanitizer], list[str]]] = {
    "mixed_cell": fuzz_cell,
    "gramian": fuzz_gramian,
    "entangled_linear": fuzz_linear,
    "elastic_depthwise": fuzz_block,
}
