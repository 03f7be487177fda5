"""min_norm, gramian and combine as operators `torch.ops.modnas_fast`, for torch.compile and torch.func.

Each has a fake kernel (shapes without values) and a rule for vmap. Calling the public functions is the same and,
outside of tracing, faster. None is differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modnas_fast.mgd.gramian import combine as combine_gradients
from modnas_fast.mgd.gramian import gramian as gramian_of_gradients
from modnas_fast.mgd.min_norm import empty, solve


@torch.library.custom_op("modnas_fast::min_norm", mutates_args=())
def min_norm(
    gramian: Tensor, method: str, tol: float, max_iter: int, nonfinite: str, zeros: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """weights, squared_norm, gap, iterations and status of `modnas_fast.mgd.min_norm`."""
    weights, squared_norm, gap, iterations, status = solve(gramian, method, tol, max_iter, nonfinite, zeros)
    return weights, squared_norm, gap, iterations, status


@min_norm.register_fake
def _(gramian: Tensor, method: str, tol: float, max_iter: int, nonfinite: str, zeros: str) -> tuple[Tensor, ...]:
    wide = torch.float64 if gramian.dtype == torch.float64 else torch.float32
    return tuple(empty(gramian.to(wide)))


@min_norm.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], gramian: Tensor, *options: Any) -> tuple[Any, Any]:
    moved = gramian.movedim(in_dims[0], 0)
    return min_norm(moved, *options), (0, 0, 0, 0, 0)


@torch.library.custom_op("modnas_fast::gramian", mutates_args=())
def gramian(parts: Sequence[Tensor], leading: int) -> Tensor:
    """The Gramian [*leading, T, T] of parts [*leading, T, ...]."""
    if leading == 0:
        return gramian_of_gradients(list(parts))
    return torch.stack([gramian_of_gradients(_rows(part, leading)) for part in parts]).sum(0)


@gramian.register_fake
def _(parts: Sequence[Tensor], leading: int) -> Tensor:
    shape = parts[0].shape[: leading + 1]
    return parts[0].new_empty((*shape, shape[-1]), dtype=torch.float64)


@gramian.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], parts: Sequence[Tensor], leading: int) -> tuple[Tensor, int]:
    return gramian(_batch_first(info, in_dims[0], parts), leading + 1), 0


@torch.library.custom_op("modnas_fast::combine", mutates_args=())
def combine(weights: Tensor, parts: Sequence[Tensor], leading: int) -> list[Tensor]:
    """Σ_t weights[..., t] × row t of each part [*leading, T, ...]."""
    if leading == 0:
        sums: list[Tensor] = combine_gradients(weights, list(parts))
        return sums
    return [combine_gradients(weights, _rows(part, leading)).reshape(_without_rows(part, leading)) for part in parts]


@combine.register_fake
def _(weights: Tensor, parts: Sequence[Tensor], leading: int) -> list[Tensor]:
    return [part.new_empty(_without_rows(part, leading)) for part in parts]


@combine.register_vmap
def _(
    info: Any, in_dims: tuple[Any, ...], weights: Tensor, parts: Sequence[Tensor], leading: int
) -> tuple[list[Tensor], list[int]]:
    (moved,) = _batch_first(info, [in_dims[0]], [weights])
    return combine(moved, _batch_first(info, in_dims[1], parts), leading + 1), [0] * len(parts)


def _rows(part: Tensor, leading: int) -> Tensor:
    return part.reshape(*part.shape[: leading + 1], part.shape[leading + 1 :].numel())


def _without_rows(part: Tensor, leading: int) -> tuple[int, ...]:
    return (*part.shape[:leading], *part.shape[leading + 1 :])


def _batch_first(info: Any, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    return [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]
