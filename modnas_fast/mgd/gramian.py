"""The Gramian of gradients and their weighted sum: all that multiple gradient descent does with them.

Gradients come in one of three forms, and are read where they lie:

- a matrix [T, P], or a batch of them [..., T, P];
- per parameter: a sequence of tensors [T, ...];
- per device: a sequence of T sequences, each with one tensor (or None, for zeros) per parameter.

Each parameter stands in them once. One that is listed twice, as tied weights are by two modules, shows as the very same
tensors at two places and is refused: it would count twice in every inner product.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from modnas_fast.mgd import gramian_reference
from modnas_fast.mgd.tracing import traced
from modnas_fast.runtime import implementations

Gradients: TypeAlias = Tensor | Sequence[Tensor] | Sequence[Sequence[Tensor | None]]

_TYPES = {torch.float64: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}


class _Rows(NamedTuple):
    """Gradients of T devices as rows of pieces."""

    rows: list[list[Tensor | None]]  # [pieces][T], contiguous; None for zeros
    like: list[Tensor | None]  # [pieces] a row that is there


def gramian(gradients: Gradients) -> Tensor:
    """G[s, t] = ⟨g_s, g_t⟩ summed over parameters: float64 [T, T], or [..., T, T] of matrices [..., T, P].

    Args:
        gradients: in one of the three forms of this module; float64, float32, float16 or bfloat16, also mixed.

    Products and sums are in float64. On the CPU each gradient is read once, without a copy unless its numbers
    do not lie next to each other, and the result does not depend on the number of threads. On CUDA nothing waits for
    the GPU, and equal inputs give equal bits. Not differentiable.

    Raises:
        TypeError: no tensors, or not of floating-point numbers.
        ValueError: no gradients, shapes that differ between devices, tensors on different devices, or the same tensors
            for two parameters.

    >>> gramian([torch.tensor([[3.0], [0.0]]), torch.tensor([[4.0], [1.0]])]).tolist()
    [[25.0, 4.0], [4.0, 1.0]]
    >>> gramian(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [[25.0, 4.0], [4.0, 1.0]]
    """
    form, first = _form(gradients)
    if traced(first):
        parts, leading = _stacked(form, gradients)
        found: Tensor = torch.ops.modnas_fast.gramian([part.detach() for part in parts], leading)
        return found
    name = implementations.chosen("gramian", first.device.type).name
    if name == "reference":
        parts, leading = _stacked(form, gradients)
        return gramian_reference.gramian([part.detach() for part in parts], leading)
    if name == "triton":
        return _gramian_triton(form, gradients)
    if isinstance(gradients, Tensor):
        return _gramian_matrix(gradients)
    return _gramian_rows(_rows(form, gradients), first)


def combine(weights: Tensor, gradients: Gradients) -> Any:
    """Σ_t weights[t] g_t, with the shapes and number formats of one device's gradient.

    Args:
        weights: [T], or [..., T] for matrices [..., T, P]; any floating-point format, any signs.
        gradients: as in `gramian`.

    Returns:
        [..., P] for matrices; else a list with one tensor per parameter (None where no device has one). Sums are
        in float64 and rounded once. A gradient of weight 0 is not read, so that NaN in it does no harm.

    Raises:
        TypeError, ValueError: as `gramian`, and where the shape of the weights does not fit.

    >>> combine(torch.tensor([0.5, 0.5]), torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    tensor([2., 2.])
    """
    form, first = _form(gradients)
    weights = _checked_weights(weights, form, gradients, first)
    if traced(first) or traced(weights):
        parts, leading = _stacked(form, gradients)
        sums = torch.ops.modnas_fast.combine(weights.detach(), [part.detach() for part in parts], leading)
        return _as_given(form, gradients, sums)
    weights = weights.detach().double().contiguous()
    name = implementations.chosen("combine", first.device.type).name
    if name == "reference":
        parts, leading = _stacked(form, gradients)
        sums = gramian_reference.combine(weights, [part.detach() for part in parts], leading)
        return _as_given(form, gradients, sums)
    if name == "triton":
        return _combine_triton(weights, form, gradients)
    if isinstance(gradients, Tensor):
        return _combine_matrix(weights, gradients)
    return _combine_rows(weights, _rows(form, gradients))


# ---- compiled, on the CPU ----


def _gramian_matrix(gradients: Tensor) -> Tensor:
    matrix = _with_contiguous_rows(gradients.detach())
    leading, (count, length) = matrix.shape[:-2], matrix.shape[-2:]
    batch = matrix.reshape(leading.numel(), count, length)
    out = torch.empty((*leading, count, count), dtype=torch.float64)
    width = matrix.element_size()
    implementations.core().gramian_matrix_cpu(
        batch.data_ptr(),
        _TYPES[matrix.dtype],
        *batch.shape,
        width * batch.stride(0),
        width * batch.stride(1),
        torch.get_num_threads(),
        out.data_ptr(),
    )
    return out


def _combine_matrix(weights: Tensor, gradients: Tensor) -> Tensor:
    matrix = _with_contiguous_rows(gradients.detach())
    leading, (count, length) = matrix.shape[:-2], matrix.shape[-2:]
    batch = matrix.reshape(leading.numel(), count, length)
    out = torch.empty((*leading, length), dtype=matrix.dtype)
    width = matrix.element_size()
    implementations.core().combine_matrix_cpu(
        batch.data_ptr(),
        _TYPES[matrix.dtype],
        weights.data_ptr(),
        *batch.shape,
        width * batch.stride(0),
        width * batch.stride(1),
        torch.get_num_threads(),
        out.data_ptr(),
        width * length,
    )
    return out


def _with_contiguous_rows(matrix: Tensor) -> Tensor:
    return matrix if matrix.stride(-1) == 1 or matrix.shape[-1] <= 1 else matrix.contiguous()


def _addresses(rows: _Rows) -> tuple[list[int], list[int], list[int]]:
    addresses = [0 if row is None else row.data_ptr() for piece in rows.rows for row in piece]
    lengths = [0 if like is None else like.numel() for like in rows.like]
    types = [1 if like is None else _TYPES[like.dtype] for like in rows.like]
    return addresses, lengths, types


def _gramian_rows(rows: _Rows, first: Tensor) -> Tensor:
    count = len(rows.rows[0])
    out = torch.empty((count, count), dtype=torch.float64)
    implementations.core().gramian_cpu(*_addresses(rows), count, torch.get_num_threads(), out.data_ptr())
    return out


def _combine_rows(weights: Tensor, rows: _Rows) -> list[Tensor | None]:
    out = [None if like is None else torch.empty(like.shape, dtype=like.dtype) for like in rows.like]
    implementations.core().combine_cpu(
        *_addresses(rows),
        weights.data_ptr(),
        len(rows.rows[0]),
        torch.get_num_threads(),
        [0 if tensor is None else tensor.data_ptr() for tensor in out],
    )
    return out


def _rows(form: str, gradients: Any) -> _Rows:
    """The rows of gradients given per parameter or per device; contiguous copies only where they must be."""
    if form == "parameters":
        pieces = [list(part.detach().contiguous().unbind(0)) for part in gradients]
        return _Rows(pieces, [piece[0] for piece in pieces])
    pieces = [
        [None if row is None else row.detach().contiguous() for row in piece] for piece in zip(*gradients, strict=True)
    ]
    return _Rows(pieces, [next((row for row in piece if row is not None), None) for piece in pieces])


# ---- Triton ----


def _gramian_triton(form: str, gradients: Any) -> Tensor:
    found: Tensor = _kernel("gramian")(_pieces(form, gradients))
    return found.reshape(*gradients.shape[:-1], gradients.shape[-2]) if form == "matrix" else found[0]


def _combine_triton(weights: Tensor, form: str, gradients: Any) -> Any:
    sums = _kernel("combine")(weights.reshape(-1, weights.shape[-1]), _pieces(form, gradients))
    if form == "matrix":
        return sums[0].reshape(*gradients.shape[:-2], gradients.shape[-1])
    if form == "parameters":
        shapes = [part.shape[1:] for part in gradients]
    else:
        shapes = [next((row.shape for row in piece if row is not None), None) for piece in zip(*gradients, strict=True)]
    return [None if total is None else total.reshape(shape) for total, shape in zip(sums, shapes, strict=True)]


def _kernel(op: str) -> Callable[..., Any]:
    """The Triton kernel of an operation. Imported when first called for, since it imports triton."""
    kernel: Callable[..., Any] = getattr(importlib.import_module(f"modnas_fast.kernels.{op}"), op)
    return kernel


def _pieces(form: str, gradients: Any) -> list[Any]:
    """Matrices [B, T, P] or lists of T contiguous rows; copies only where they must be."""
    if form == "devices":
        return _rows(form, gradients).rows
    parts, leading = _stacked(form, gradients)
    return [
        part.detach().reshape(part.shape[:leading].numel(), part.shape[leading], part.shape[leading + 1 :].numel())
        for part in parts
    ]


def _stacked(form: str, gradients: Any) -> tuple[list[Tensor], int]:
    """Tensors [*leading, T, ...] and the number of leading axes; gradients per device are copied."""
    if form == "matrix":
        return [gradients], gradients.ndim - 2
    if form == "parameters":
        return list(gradients), 0
    parts = []
    for piece in zip(*gradients, strict=True):
        like = next((row for row in piece if row is not None), None)
        if like is not None:
            parts.append(torch.stack([torch.zeros_like(like) if row is None else row for row in piece]))
    return parts, 0


def _as_given(form: str, gradients: Any, sums: list[Tensor]) -> Any:
    """Sums of `_stacked` parts in the form of one device's gradient: None again where no device has one."""
    if form == "matrix":
        return sums[0]
    if form == "parameters":
        return sums
    rest = iter(sums)
    return [None if all(row is None for row in piece) else next(rest) for piece in zip(*gradients, strict=True)]


# ---- checks ----


def _form(gradients: Any) -> tuple[str, Tensor]:
    """Which form it is, and one of its tensors; raises where it is none."""
    if isinstance(gradients, Tensor):
        if gradients.ndim < 2:
            raise ValueError(f"gradients must have shape [..., T, P], not {list(gradients.shape)}")
        _check_tensor(gradients, "gradients", gradients)
        if gradients.shape[-2] == 0:
            raise ValueError("gradients must hold at least one gradient, but T = 0")
        return "matrix", gradients
    if not isinstance(gradients, Sequence) or isinstance(gradients, str):
        raise TypeError(
            f"gradients must be a tensor [..., T, P], a sequence of tensors [T, ...] or a sequence of T sequences of "
            f"tensors, not {type(gradients).__name__}"
        )
    if not gradients:
        raise ValueError("gradients: wanted at least one tensor [T, ...], got none")
    if all(isinstance(part, Tensor) for part in gradients):
        _check_parameters(gradients)
        return "parameters", gradients[0]
    return "devices", _check_devices(gradients)


def _check_tensor(tensor: Any, name: str, first: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(tensor).__name__}")
    if tensor.dtype not in _TYPES:
        raise TypeError(f"{name} must be float64, float32, float16 or bfloat16, not {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be dense, not {tensor.layout}; call .to_dense()")
    if tensor.device != first.device:
        raise ValueError(f"{name} is on {tensor.device}, but the first tensor is on {first.device}")


def _check_parameters(parts: Sequence[Tensor]) -> None:
    for k, part in enumerate(parts):
        _check_tensor(part, f"gradients[{k}]", parts[0])
    if any(part.ndim == 0 for part in parts):
        raise ValueError("gradients: wanted tensors with a leading axis T, got one without axes")
    if any(part.shape[0] != parts[0].shape[0] for part in parts):
        raise ValueError(f"gradients: leading axes differ: {[part.shape[0] for part in parts]}")
    if parts[0].shape[0] == 0:
        raise ValueError("gradients must hold at least one gradient, but T = 0")
    _check_once([parts])


def _check_devices(devices: Sequence[Any]) -> Tensor:
    for t, device in enumerate(devices):
        if not isinstance(device, Sequence) or isinstance(device, str):
            raise TypeError(f"gradients[{t}] must be a sequence of tensors, not {type(device).__name__}")
        if len(device) != len(devices[0]):
            raise ValueError(f"gradients[{t}] has {len(device)} tensors, but gradients[0] has {len(devices[0])}")
    first: Tensor | None = next((row for device in devices for row in device if row is not None), None)
    if first is None:
        raise ValueError("gradients: wanted at least one tensor, got none")
    for k, piece in enumerate(zip(*devices, strict=True)):
        like = None
        for t, row in enumerate(piece):
            if row is None:
                continue
            _check_tensor(row, f"gradients[{t}][{k}]", first)
            like = row if like is None else like
            if row.shape != like.shape or row.dtype != like.dtype:
                raise ValueError(
                    f"gradients[{t}][{k}] is {row.dtype} {list(row.shape)}, but another device's is {like.dtype} "
                    f"{list(like.shape)}"
                )
    _check_once(devices)
    return first


def _check_once(devices: Sequence[Sequence[Tensor | None]]) -> None:
    """Raises a ValueError where two parameters have the very same tensors of every device."""
    if torch.compiler.is_compiling():
        return
    seen: dict[tuple[int, ...], int] = {}
    for k, piece in enumerate(zip(*devices, strict=True)):
        first = seen.setdefault(tuple(map(id, piece)), k)
        if first != k and any(row is not None for row in piece):
            raise ValueError(
                f"gradients: the tensors at place {k} are those at place {first}; list each parameter once, as "
                "list(dict.fromkeys(parameters)) does"
            )


def _checked_weights(weights: Any, form: str, gradients: Any, first: Tensor) -> Tensor:
    if not isinstance(weights, Tensor):
        raise TypeError(f"weights must be a torch.Tensor, not {type(weights).__name__}")
    if form == "matrix":
        wanted = gradients.shape[:-1]
    else:
        wanted = torch.Size([len(gradients) if form == "devices" else len(first)])
    if weights.shape != wanted:
        raise ValueError(f"weights must have shape {list(wanted)}, not {list(weights.shape)}")
    if weights.device != first.device:
        raise ValueError(f"weights is on {weights.device}, but the gradients are on {first.device}")
    return weights
