"""Makers of Gramians, ordinary and hard, for tests and benchmarks: float64, fixed by their seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _uniform(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(batch: int, size: int, width: int, seed: int) -> Tensor:
    """Independent normal gradients [batch, size, width]."""
    return _normal((batch, size, width), seed)


def agreeing(batch: int, size: int, width: int, seed: int) -> Tensor:
    """Gradients with a common direction as long as their own parts, as in multi-task training."""
    return _normal((batch, size, width), seed) + _normal((batch, 1, width), seed + 1)


def conditioned(batch: int, size: int, seed: int) -> Tensor:
    """Gradients whose singular values fall from 1 to 1e-8: condition number of the Gramian 1e16."""
    left = torch.linalg.qr(_normal((batch, size, size), seed)).Q
    return left * torch.logspace(0, -8, size, dtype=torch.float64)


def scales(batch: int, size: int, seed: int) -> Tensor:
    """Lengths from 1e-8 to 1e8 within one problem."""
    exponent = 16 * _uniform((batch, size, 1), seed + 1) - 8
    return _normal((batch, size, size + 2), seed) * 10**exponent


def duplicates(batch: int, size: int, seed: int) -> Tensor:
    """Every second gradient equals the one before."""
    rows = _normal((batch, size, size), seed)
    return rows[:, torch.arange(size) // 2 * 2]


def zero_row(batch: int, size: int, seed: int) -> Tensor:
    """The last gradient is zero."""
    rows = _normal((batch, size, size), seed)
    rows[:, -1] = 0
    return rows


def opposite(batch: int, size: int, seed: int) -> Tensor:
    """Every second gradient is minus a multiple of the one before."""
    rows = duplicates(batch, size, seed)
    rows[:, 1::2] *= -3
    return rows


def near_parallel(batch: int, size: int, seed: int) -> Tensor:
    """One direction, with independent parts 1e-8 as long."""
    return _normal((batch, 1, size), seed) + 1e-8 * _normal((batch, size, size), seed + 1)


def near_flat(batch: int, size: int, seed: int) -> Tensor:
    """Points of a plane through which x cannot be seen, lifted by 1e-8 of their size towards the origin."""
    rows = _normal((batch, size, max(2, size // 2)), seed)
    height = 1 - 1e-8 * _uniform((batch, size, 1), seed + 1)
    return torch.cat([rows, height], dim=-1)


def origin_inside(batch: int, size: int, seed: int) -> Tensor:
    """The origin is the mean of the gradients: the shortest vector is zero."""
    rows = _normal((batch, size, size), seed)
    return rows - rows.mean(1, keepdim=True)


def crowded_origin(batch: int, size: int, seed: int) -> Tensor:
    """Many more gradients than dimensions, the origin well inside."""
    return _normal((batch, size, 2), seed)


def rank_one(batch: int, size: int, seed: int) -> Tensor:
    """Positive multiples of one gradient."""
    return _normal((batch, 1, 3), seed) * (0.1 + _uniform((batch, size, 1), seed + 1))


def rank_one_mixed(batch: int, size: int, seed: int) -> Tensor:
    """Multiples of one gradient of either sign."""
    return _normal((batch, 1, 3), seed) * _normal((batch, size, 1), seed + 1)


def orthogonal(batch: int, size: int, seed: int) -> Tensor:
    """Orthogonal gradients of different lengths: weights proportional to 1 / length²."""
    basis = torch.linalg.qr(_normal((batch, size, size), seed)).Q
    return basis.mT * (0.5 + _uniform((batch, size, 1), seed + 1))


HARD: dict[str, Callable[[int, int, int], Tensor]] = {
    maker.__name__: maker
    for maker in (
        conditioned,
        scales,
        duplicates,
        zero_row,
        opposite,
        near_parallel,
        near_flat,
        origin_inside,
        crowded_origin,
        rank_one,
        rank_one_mixed,
        orthogonal,
    )
}


def gramian(rows: Tensor) -> Tensor:
    """The Gramian [..., T, T] of gradients [..., T, P], exactly symmetric."""
    product = rows @ rows.mT
    return (product + product.mT) / 2
