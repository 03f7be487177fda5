"""A linear layer whose weight T devices share, each using a part of it: the layer of elastic search spaces.

Two ways to say which part. *Prefix widths* (OFA, Cai et al. 2020; HAT, Wang et al. 2020): device t uses the first k_t
inputs and the first n_t outputs. *Mixture masks* (Sukthanker et al. 2023, "Weight-Entanglement Meets Gradient-Based
Neural Architecture Search", arXiv 2312.10440): a weighted sum of such prefixes, differentiable in its weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modnas_fast.mgd.tracing import traced
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets import entangled_linear_reference
from modnas_fast.supernets.entangled_linear_reference import Part

_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WIDTHS = (torch.int64, torch.int32)
_MODULES = {
    "composed": "modnas_fast.supernets.entangled_linear_composed",
    "triton": "modnas_fast.kernels.entangled_linear",
}


def entangled_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, inputs: Part = None, outputs: Part = None
) -> Tensor:
    """Y_t = (((x_t · m_in,t) Wᵀ) + b) · m_out,t for T devices at once: [T, ..., N] in the dtype of x.

    Args:
        x: [S, ..., K], S = T, or 1 where all devices share it; float64, float32, float16 or bfloat16.
        weight: [N, K] in the dtype of x (under torch.autocast, x, weight and bias are cast as for F.linear).
        bias: [N], or None.
        inputs: what each device uses of the K inputs: None (all), the first widths[t] of them, int64 or int32 [T],
            or a mask, floating-point [T, K], with which x is multiplied.
        outputs: the same for the N outputs.

    Differentiable once in x, weight, bias and masks. Outputs that a device does not use are exactly 0. What is left
    out, by a width or by a mask of exactly 0, counts as 0: NaN or infinity there (also in the gradient of an unused
    output) reaches neither the result nor any gradient. A mask's gradient is the true derivative where the mask is 0,
    too, so that a straight-through sample compares widths it did not choose: for it alone, what is left out counts,
    unless it is not finite.

    Sums are in float32, or in float64 for float64; masks are read in that format. On CUDA nothing waits for the GPU,
    widths are clamped to 0..K or 0..N, and equal inputs give equal bits. A shared x with prefix widths costs one
    product of the widest device on the CPU, and one per device on CUDA. Under torch.compile and torch.func the plain
    PyTorch reference is traced.

    Raises:
        TypeError: an argument is no tensor, or of another dtype than wanted.
        InputError: shapes or devices do not fit, or a width on the CPU is out of range.

    >>> x, weight = torch.ones(1, 1, 3), torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    >>> entangled_linear(x, weight, inputs=torch.tensor([3, 1]), outputs=torch.tensor([1, 2])).tolist()
    [[[7.0, 0.0]], [[1.0, 8.0]]]
    >>> entangled_linear(x, weight, inputs=torch.tensor([[1.0, 0.5, 0.0]])).tolist()
    [[[2.0, 16.0]]]
    """
    x, weight, bias = _cast(x, weight, bias)
    _check(x, weight, bias)
    count = _count(x, inputs, outputs)
    inputs = _checked_part(inputs, "inputs", count, weight.shape[1], x)
    outputs = _checked_part(outputs, "outputs", count, weight.shape[0], x)
    rows = x.flatten(1, -2)
    arguments = rows, weight, bias, inputs, outputs
    if (
        any(traced(argument) for argument in arguments if argument is not None)
        or (name := implementations.chosen("entangled_linear", x.device.type).name) == "reference"
    ):
        y = entangled_linear_reference.entangled_linear(*arguments)
    else:
        y = _Entangled.apply(_module(name), *arguments)
    return y.reshape(count, *x.shape[1:-1], len(weight))


class _Entangled(torch.autograd.Function):
    """One of the fast implementations."""

    @staticmethod
    def forward(ctx: Any, module: Any, *arguments: Tensor | None) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(*arguments)
        y: Tensor = module.entangled_linear(*arguments)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.module.gradients(gradient, *ctx.saved_tensors, needed=ctx.needs_input_grad[1:])


def _module(name: str) -> Any:
    """Imported when first called for, since that of Triton imports triton."""
    return importlib.import_module(_MODULES[name])


class Work(NamedTuple):
    """What a computation cannot do without."""

    flops: int
    bytes: int


def needed_work(
    rows: int, inputs: Sequence[int], outputs: Sequence[int], element_size: int, shared: bool = False
) -> tuple[Work, Work]:
    """Work of the forward and of the backward pass (x and weight, no bias) of devices with prefix widths.

    Args:
        rows: R of one device.
        inputs, outputs: the widths k_t and n_t of T devices.
        element_size: bytes of one number.
        shared: whether the devices share x.

    Flops are 2 R k_t n_t per product. Bytes count each number that some device uses once: of x, the outputs and their
    gradients per device (a shared x up to the widest), of the weight the union of the devices' parts.

    >>> needed_work(10, [2, 4], [3, 1], element_size=4)[0]
    Work(flops=200, bytes=432)
    """
    flops = 2 * rows * sum(k * n for k, n in zip(inputs, outputs, strict=True))
    of_x = rows * (max(inputs) if shared else sum(inputs))
    of_y = rows * sum(outputs)
    union = _area(inputs, outputs)
    return (
        Work(flops, element_size * (of_x + of_y + union)),
        Work(2 * flops, element_size * (2 * of_x + of_y + 2 * union)),
    )


def _area(inputs: Sequence[int], outputs: Sequence[int]) -> int:
    """Numbers in the union of rectangles that share a corner."""
    area = height = 0
    pairs = sorted(zip(inputs, outputs, strict=True), reverse=True)
    for (k, n), (narrower, _) in zip(pairs, [*pairs[1:], (0, 0)], strict=True):
        height = max(height, n)
        area += (k - narrower) * height
    return area


# ---- checks ----


def _cast(*tensors: Any) -> tuple[Any, ...]:
    first = tensors[0]
    if not isinstance(first, Tensor) or not torch.is_autocast_enabled(first.device.type):
        return tensors
    dtype = torch.get_autocast_dtype(first.device.type)
    return tuple(t.to(dtype) if isinstance(t, Tensor) and t.dtype in _TYPES[1:] else t for t in tensors)


def _check(x: Any, weight: Any, bias: Any) -> None:
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if tensor is None and name == "bias":
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, not {type(tensor).__name__}")
        if tensor.dtype not in _TYPES:
            raise TypeError(f"{name} must be float64, float32, float16 or bfloat16, not {tensor.dtype}")
        if tensor.dtype != x.dtype:
            raise TypeError(f"{name} is {tensor.dtype}, but x is {x.dtype}; use {name}.to(x.dtype)")
        if tensor.device != x.device:
            raise InputError(f"{name} is on {tensor.device}, but x is on {x.device}; use {name}.to(x.device)")
    if weight.ndim != 2 or 0 in weight.shape:
        raise InputError(f"weight must have shape [N, K] with N and K at least 1, not {list(weight.shape)}")
    if x.ndim < 3 or x.shape[-1] != weight.shape[1]:
        raise InputError(
            f"x must have shape [S, ..., {weight.shape[1]}] with rows between, as weight is {list(weight.shape)}, "
            f"not {list(x.shape)}"
        )
    if len(x) == 0:
        raise InputError("x must be of at least one device, but S = 0")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"bias must have shape [{len(weight)}], one number per output, not {list(bias.shape)}")


def _count(x: Tensor, inputs: Any, outputs: Any) -> int:
    """T, on which all arguments must agree."""
    count, source = len(x), "x"
    for name, part in (("inputs", inputs), ("outputs", outputs)):
        if part is None:
            continue
        if not isinstance(part, Tensor):
            raise TypeError(f"{name} must be None or a torch.Tensor, not {type(part).__name__}")
        if part.ndim == 0 or len(part) == 0:
            raise InputError(f"{name} must have a leading axis T of at least one device, not {list(part.shape)}")
        if len(part) != count and (source != "x" or count != 1):
            raise InputError(f"{name} is of {len(part)} devices, but {source} of {count}")
        count, source = len(part), name
    return count


def _checked_part(part: Tensor | None, name: str, count: int, size: int, x: Tensor) -> Part:
    if part is None:
        return None
    if part.device != x.device:
        raise InputError(f"{name} is on {part.device}, but x is on {x.device}; use {name}.to(x.device)")
    if part.dtype in _TYPES:
        if part.shape != (count, size):
            raise InputError(f"{name}: a mask must have shape [{count}, {size}], not {list(part.shape)}")
        return part.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    if part.dtype not in _WIDTHS:
        raise TypeError(f"{name} must be widths (int64 or int32) or a mask (floating-point), not {part.dtype}")
    if part.ndim != 1:
        raise InputError(f"{name}: widths must have shape [{count}], not {list(part.shape)}")
    if part.device.type == "cpu" and not traced(part) and ((part < 0) | (part > size)).any():
        t = int(((part < 0) | (part > size)).nonzero()[0])
        raise InputError(f"{name}: the width of device {t} must be in 0..{size}, not {int(part[t])}")
    return part
