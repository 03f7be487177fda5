"""What the ranks of a run compute of a task objective, each its part, brought together on all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modnas_fast.runtime.mesh import Mesh
from modnas_fast.runtime.ranks import Ranks
from modnas_fast.supernets.sharded import filled


def divided_losses(
    onehot: Tensor, own_losses: Callable[[Tensor], Tensor | None], mesh: Mesh, dtype: torch.dtype
) -> Tensor:
    """Task losses [S] of samples [S, N] on a whole minibatch, with a gradient where the samples want one.

    Losses and gradients of all ranks are added up in one message of S numbers, or of S × (N + 1) with a gradient, so
    that every rank has the same bits. It cannot be differentiated again.

    Args:
        onehot: the same on all ranks.
        own_losses: of those rows of it that are this rank's, on its part of the minibatch, as shares of the whole: what
            all ranks add up to is the loss; None where there is none of either.
        mesh: who has which rows.
        dtype: of the numbers exchanged.
    """
    losses: Tensor = _Divided.apply(onehot, own_losses, mesh, dtype)
    return losses


class _Divided(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, onehot: Tensor, own_losses: Callable[[Tensor], Tensor | None], mesh: Mesh, dtype: torch.dtype
    ) -> Tensor:
        wanted, rows = ctx.needs_input_grad[0], mesh.rows(len(onehot))
        found = onehot.new_zeros(len(onehot), 1 + (onehot.shape[1] if wanted else 0), dtype=dtype)
        with torch.set_grad_enabled(wanted):
            leaf = onehot[rows].detach().requires_grad_(wanted)
            losses = own_losses(leaf)
            if losses is not None:
                found[rows, 0] = losses.detach().to(dtype)
                if wanted:
                    found[rows, 1:] = torch.autograd.grad(losses.sum(), leaf)[0].to(dtype)
        mesh.ranks.sum_(found)
        ctx.save_for_backward(found[:, 1:])
        return found[:, 0].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return cotangent[:, None] * gradients, None, None, None


class DividedErrors:
    """Quality [n], float64, of one-hots [n, N] on the CPU, each computed on one rank.

    Args:
        errors: of some one-hots.
        ranks: all of them call this together, with the same one-hots.
        evenly: whether all ranks compute as many, because they exchange something on the way.
    """

    def __init__(self, errors: Callable[[Tensor], Tensor], ranks: Ranks, evenly: bool = False) -> None:
        self._errors, self._ranks, self._evenly = errors, ranks, evenly

    def __call__(self, onehot: Tensor) -> Tensor:
        own = slice(self._ranks.rank, None, self._ranks.size)
        found = torch.zeros(len(onehot), dtype=torch.float64)
        count = len(onehot[own])
        if self._evenly and len(onehot):
            most = -(-len(onehot) // self._ranks.size)
            found[own] = self._errors(filled(onehot[own], onehot, most))[:count].double()
        elif count:
            found[own] = self._errors(onehot[own]).double()
        return self._ranks.sum_(found)
