"""A supernet's passes as CUDA graphs: thousands of small kernels started as one.

A graph repeats what was recorded, with the memory of then: shapes are fixed, and so are the addresses of the weights,
which optimisers change in place. Every combination of shapes is captured when it first comes up, which waits for the
GPU; later calls do not. What a replay writes, the next one overwrites: losses and gradients leave as copies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.func import functional_call

from modnas_fast.supernets.passes import PartLosses, Passes
from modnas_fast.supernets.supernet import How, Losses, Supernet, cross_entropies

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE
    from typing_extensions import Unpack


class CapturedPasses(Passes):
    """The passes through a supernet on a GPU, replayed from graphs; values and gradients are those of `Passes`.

    Args:
        supernet: on a GPU, and `capturable`. Its weights must stay where they are in memory.
        losses, training_losses: the task's; they read no values either.
    """

    def __init__(
        self, supernet: Supernet, losses: Losses = cross_entropies, training_losses: Losses | None = None
    ) -> None:
        super().__init__(supernet, losses, training_losses)
        self._weights = dict(supernet.named_parameters())
        self._graphs: dict[tuple[object, ...], Callable[..., Tensor]] = {}
        self._memory: _POOL_HANDLE | None = None

    def add_weight_gradients(
        self,
        x: Tensor,
        onehot: Tensor,
        y: Tensor,
        chunk: int | None = None,
        weight: Tensor | float = 1.0,
        **how: Unpack[How],
    ) -> Tensor:
        """As in `Passes`."""
        losses = []
        for part in onehot.detach().split(chunk or len(onehot)):
            found = weight * self._replay(self._trained, how, (x, part, y, *self._weights.values()))
            (found.sum() / len(onehot)).backward()
            losses.append(found.detach())
        return torch.cat(losses)

    @staticmethod
    def _at_a_time(device: torch.device, parts: int) -> int:
        """Graphs share their memory, so they run in turns whatever the samples lie on."""
        return 1

    def _frozen_losses(self, x: Tensor, y: Tensor, how: How) -> PartLosses:
        return lambda part: self._replay(self._frozen, how, (x, part, y))

    def _frozen(self, how: How, x: Tensor, onehot: Tensor, y: Tensor) -> Tensor:
        weights = {name: weight.detach() for name, weight in self._weights.items()}
        losses: Tensor = functional_call(self._supernet, weights, (x, onehot, y, self._losses), dict(how))
        return losses

    def _trained(self, how: How, x: Tensor, onehot: Tensor, y: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(self._weights, weights))
        losses: Tensor = functional_call(self._supernet, named, (x, onehot, y, self._training_losses), dict(how))
        return losses

    def _replay(self, function: Callable[..., Tensor], how: How, inputs: tuple[Tensor, ...]) -> Tensor:
        x, onehot = inputs[:2]
        key = (function.__name__, *how.items(), x.shape, x.dtype, onehot.shape, onehot.requires_grad)
        if key not in self._graphs:
            self._graphs[key] = self._capture(partial(function, how), inputs)
        kept = _with_own_gradients(inputs)
        return self._graphs[key](*kept).clone()  # the graph's own output is overwritten by its next replay

    def _capture(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        """Graphs of the function and of its backward pass, in memory that all graphs share: they run in turns."""
        if self._memory is None:
            self._memory = torch.cuda.graph_pool_handle()
        weights = set(map(id, self._weights.values()))
        own = tuple(v if id(v) in weights else v.detach().clone().requires_grad_(v.requires_grad) for v in inputs)
        with torch.enable_grad():
            graphed = torch.cuda.make_graphed_callables(function, own, allow_unused_input=True, pool=self._memory)
        return cast("Callable[..., Tensor]", graphed)  # of a function, which is no module


def _with_own_gradients(inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The inputs of a graph where they lie; gradients through them are copies.

    A graph hands out the memory that it writes them to, autograd keeps that without copying, and the next replay
    writes there again: that of the next part of the devices, before anyone has read the gradients of this one.
    """
    copied = iter(_OwnGradients.apply(*(tensor for tensor in inputs if tensor.requires_grad)))
    return [next(copied) if tensor.requires_grad else tensor for tensor in inputs]


class _OwnGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if gradient is None else gradient.clone() for gradient in gradients)
