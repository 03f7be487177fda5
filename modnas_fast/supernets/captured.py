"""A supernet's passes as CUDA graphs: thousands of small kernels started as one.

A graph repeats what was recorded, with the memory of then: shapes are fixed, and so are the addresses of the weights,
which optimisers change in place. Every combination of shapes is captured when it first comes up, which waits for the
GPU; later calls do not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

#: loss [S] of images x, samples [S, N], labels y, and whether the samples are known to be one-hots
LossPass = Callable[[Tensor, Tensor, Tensor, bool | None], Tensor]


class CapturedSupernet:
    """The losses of a supernet on a GPU, replayed from graphs; their values and gradients are the supernet's own.

    Args:
        supernet: on a GPU; called with images x [B, C, H, W], samples [S, N], labels y [B] and `hard`, it returns
            losses [S] without reading the samples. Its weights must stay where they are in memory.

    What a pass keeps for its own backward pass is overwritten by the next call: differentiate first.
    """

    def __init__(self, supernet: nn.Module) -> None:
        self._supernet = supernet
        self._weights = dict(supernet.named_parameters())
        self._graphs: dict[tuple, Callable[..., Tensor]] = {}
        self._memory: tuple[int, int] | None = None

    def frozen_loss(self, x: Tensor, onehot: Tensor, y: Tensor, hard: bool | None = None) -> Tensor:
        """Losses [S] with a gradient by the samples alone, where they want one."""
        return self._replay(self._frozen, hard, (x, onehot, y))

    def loss(self, x: Tensor, onehot: Tensor, y: Tensor, hard: bool | None = None) -> Tensor:
        """Losses [S] with a gradient by the weights alone."""
        return self._replay(self._trained, hard, (x, onehot.detach(), y, *self._weights.values()))

    def _frozen(self, hard: bool | None, x: Tensor, onehot: Tensor, y: Tensor) -> Tensor:
        weights = {name: weight.detach() for name, weight in self._weights.items()}
        return functional_call(self._supernet, weights, (x, onehot, y, hard))

    def _trained(self, hard: bool | None, x: Tensor, onehot: Tensor, y: Tensor, *weights: Tensor) -> Tensor:
        return functional_call(self._supernet, dict(zip(self._weights, weights)), (x, onehot, y, hard))

    def _replay(self, function: Callable[..., Tensor], hard: bool | None, inputs: tuple[Tensor, ...]) -> Tensor:
        x, onehot = inputs[:2]
        key = (function.__name__, hard, x.shape, onehot.shape, onehot.requires_grad)
        if key not in self._graphs:
            self._graphs[key] = self._capture(partial(function, hard), inputs)
        return self._graphs[key](*inputs).clone()  # the graph's own output is overwritten by the next call

    def _capture(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        """Graphs of the function and of its backward pass, in memory that all graphs share: they run in turns."""
        if self._memory is None:
            self._memory = torch.cuda.graph_pool_handle()
        weights = set(map(id, self._weights.values()))
        own = tuple(v if id(v) in weights else v.detach().clone().requires_grad_(v.requires_grad) for v in inputs)
        with torch.enable_grad():
            return torch.cuda.make_graphed_callables(function, own, allow_unused_input=True, pool=self._memory)
