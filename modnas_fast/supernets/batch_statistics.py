"""Batch normalisation whose statistics are those of a minibatch that several ranks divide among them.

What a network computes of a minibatch then does not depend on how many ranks share it. Each normalisation sends two
small messages, one in each direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from modnas_fast.runtime.ranks import told

#: the group within `statistics_over`; of the whole process, for backward passes on a GPU run in threads of their own
_group: Any = None


@contextmanager
def statistics_over(group: Any) -> Iterator[None]:
    """Within the block, `shared_statistics` tells the group of ranks that divide the minibatch; None: this one alone.

    They must normalise the same networks in the same order, in one thread.
    """
    global _group
    before, _group = _group, group
    try:
        yield
    finally:
        _group = before


def shared_statistics() -> bool:
    """Whether statistics are to be those of several ranks."""
    return _group is not None


def whole_batch_norm(x: Tensor, devices: int = 1, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """[devices·B, C, H, W] normalised with the statistics of each device's own rows on all ranks of the group.

    As `F.batch_norm` in training, biased variance and eps 1e-5: statistics in float32 or wider, the result in the
    format of x. Scale [C] and shift [C] are optional. Differentiable once; a gradient is that of the sum of all ranks'
    losses.
    """
    wide: Tensor = _Normalized.apply(x.unflatten(0, (devices, -1)), _group)
    wide = wide.flatten(0, 1)
    if weight is not None and bias is not None:
        wide = wide * weight[:, None, None] + bias[:, None, None]
    return wide.to(x.dtype)


class _Normalized(torch.autograd.Function):
    """(x − mean) / deviation of x [S, B, C, H, W], over B, H, W of all ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, (1, 3, 4), correction=0)  # [S, C]
        count = x.shape[1] * x.shape[3] * x.shape[4]
        own = torch.stack([torch.full_like(mean, count), mean, variance])
        found = [torch.empty_like(own) for _ in range(distributed.get_world_size(group))]
        with told():
            distributed.all_gather(found, own, group=group)
        counts, means, variances = torch.stack(found, dim=1)  # [ranks, S, C] each
        total = counts.sum(0)
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        inverse = (variance + 1e-5).rsqrt()
        ctx.group = group
        ctx.save_for_backward(x, mean, inverse, total)
        return (wide - _spread(mean)) * _spread(inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, mean, inverse, total = ctx.saved_tensors
        normal = (x.to(mean.dtype) - _spread(mean)) * _spread(inverse)
        sums = torch.stack([gradient.sum((1, 3, 4)), (gradient * normal).sum((1, 3, 4))])
        with told():
            distributed.all_reduce(sums, group=ctx.group)
        plain, along = sums / total
        of_x = (gradient - _spread(plain) - normal * _spread(along)) * _spread(inverse)
        return of_x.to(x.dtype), None


def _spread(statistics: Tensor) -> Tensor:
    """[S, 1, C, 1, 1] of [S, C]."""
    return statistics[:, None, :, None, None]
