"""One cell of NAS-Bench-201 out of library calls, network by network: the fast version on CPUs.

What it saves over the reference: of each network only the operations that are active run, on images in channels_last,
with one ReLU per node, pooling as a depthwise convolution, one sum of the output's gradient per node and one dot
product per active operation for the sample's gradient, and no backward pass through operations of weight 0. Edges that
cannot matter are left out. Whatever several networks compute from the same tensors is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.spaces.nb201.network import AVG_POOL, CONV_1X1, CONV_3X3, EDGES, NONE, NUM_NODES, OPERATIONS, SKIP
from modnas_fast.supernets.batch_statistics import shared_statistics, whole_batch_norm
from modnas_fast.supernets.memo import Memo

_INCOMING = [[e for e, (_, target) in enumerate(EDGES) if target == node] for node in range(NUM_NODES)]


class Kernels:
    """The convolutions of one cell: kernels [6, C, C] and [6, C, C, 3, 3], taken apart into edges once."""

    def __init__(self, kernels_1x1: Tensor, kernels_3x3: Tensor) -> None:
        self._kernels = {CONV_1X1: kernels_1x1[..., None, None].unbind(0), CONV_3X3: kernels_3x3.unbind(0)}

    def convolve(self, x: Tensor, edge: int, operation: int) -> Tensor:
        """The convolution that serves `operation` on `edge`, of [B, C, H, W]."""
        kernel = self._kernels[operation][edge].to(x.dtype)
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)


class Choice:
    """The weights of one network's operations and which of them run, as numbers of the host.

    Args:
        sample: [6, 5]; its gradient, where it wants one, is that of `mixed_cell`.
        active: bool per edge and operation.
    """

    def __init__(self, sample: Tensor, active: Sequence[Sequence[bool]]) -> None:
        self.sample = sample
        self.weights = sample.detach().tolist()
        self.active = active
        self.needs_gradient = sample.requires_grad and torch.is_grad_enabled()
        self.key = tuple(weight * runs for row in zip(self.weights, active) for weight, runs in zip(*row))
        self.leads_on = self._nodes_that_lead_on()

    def running(self, node: int) -> list[tuple[int, int]]:
        """(edge, operation) of what is to be computed for a node."""
        if not self.leads_on[node]:
            return []
        edges = _INCOMING[node]
        return [(e, k) for e in edges for k in range(NONE + 1, len(OPERATIONS)) if self._runs(e, k)]

    def _runs(self, edge: int, operation: int) -> bool:
        return self.active[edge][operation] and (self.needs_gradient or self.weights[edge][operation] != 0)

    def _nodes_that_lead_on(self) -> list[bool]:
        """Per node whether the output, or a gradient asked for, depends on its value."""
        leads = [False] * (NUM_NODES - 1) + [True]
        for edge, (source, target) in reversed(list(enumerate(EDGES))):
            leads[source] |= leads[target] and any(self._runs(edge, k) for k in range(NONE + 1, len(OPERATIONS)))
        return leads


def cell(x: Tensor, kernels: Kernels, choice: Choice, memo: Memo, memo_of_input: Memo) -> Tensor:
    """The cell's output [B, C, H, W] of one network whose input is x.

    `memo` holds what earlier calls computed, `memo_of_input` what they computed of x itself; the two may be one.
    """
    nodes: list[Tensor | None] = [x]  # None stands for zeros
    for node in range(1, NUM_NODES):
        running, terms = [], []
        for edge, operation in choice.running(node):
            source = EDGES[edge][0]
            value = nodes[source]
            if value is None:
                continue
            running.append((edge, operation))
            with torch.set_grad_enabled(torch.is_grad_enabled() and choice.weights[edge][operation] != 0):
                terms.append(_operation(kernels, edge, operation, value, memo if source else memo_of_input))
        nodes.append(_node(choice, node, running, terms, x, memo))
    return memo("zeros", torch.zeros_like, x) if nodes[-1] is None else nodes[-1]


def _operation(kernels: Kernels, edge: int, operation: int, x: Tensor, memo: Memo) -> Tensor:
    if operation == SKIP:
        return x
    if operation == AVG_POOL:
        return memo("pool", average_pool, x)
    relu = memo("relu", F.relu, x)
    return memo((kernels, edge, operation), lambda relu: batch_norm(kernels.convolve(relu, edge, operation)), relu)


def _node(
    choice: Choice, node: int, running: list[tuple[int, int]], terms: list[Tensor], like: Tensor, memo: Memo
) -> Tensor | None:
    """Σ of the terms by their weights; None for a node that is zero and whose zero nothing is asked of."""
    weights = [choice.weights[edge][operation] for edge, operation in running]
    if choice.needs_gradient and choice.leads_on[node]:
        edges = _INCOMING[node]
        rows = choice.sample[edges[0] : edges[-1] + 1]
        places = [(edge - edges[0], operation) for edge, operation in running]
        active = [choice.active[edge] for edge in edges]
        return _WeightedSum.apply(rows, places, active, weights, like, *terms)
    if not terms:
        return None
    return memo(("sum", *weights), lambda *values: _weighted_sum(weights, values), *terms)


def _weighted_sum(weights: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    """Σ weight · term of at least one term; a single one of weight 1 is returned as it is."""
    total = terms[0] if weights[0] == 1 else weights[0] * terms[0]
    for count, (weight, term) in enumerate(zip(weights[1:], terms[1:])):
        total = total.add_(term, alpha=weight) if count else torch.add(total, term, alpha=weight)
    return total


class _WeightedSum(torch.autograd.Function):
    """A node of a network with a gradient by the weights of the edges into it."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,  # [edges, 5]
        places: list[tuple[int, int]],  # of the terms in rows
        active: list[Sequence[bool]],
        weights: list[float],
        like: Tensor,
        *terms: Tensor,
    ) -> Tensor:
        ctx.places, ctx.active, ctx.weights = places, active, weights
        ctx.save_for_backward(rows, *terms)
        used = [(weight, term) for weight, term in zip(weights, terms) if weight != 0]
        if not used:
            return torch.zeros_like(like)
        total = _weighted_sum(*zip(*used))
        return total.view_as(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *terms = ctx.saved_tensors
        flat = _flat(gradient)
        total = float(flat.sum())
        of_rows = [[0.0 if runs else total for runs in operations] for operations in ctx.active]
        for (row, operation), term in zip(ctx.places, terms):
            of_rows[row][operation] = float(torch.dot(flat, _flat(term)))
        of_terms = [None if w == 0 else gradient if w == 1 else gradient * w for w in ctx.weights]
        return torch.tensor(of_rows, dtype=rows.dtype), None, None, None, None, *of_terms


def _flat(images: Tensor) -> Tensor:
    """All numbers of [B, C, H, W] in a row, in float32 or wider; no copy of channels_last images in such a format."""
    return images.permute(0, 2, 3, 1).reshape(-1).to(torch.promote_types(images.dtype, torch.float32))


def batch_norm(x: Tensor) -> Tensor:
    """[B, C, H, W] normalised with its own statistics per channel, without affine parameters."""
    return whole_batch_norm(x) if shared_statistics() else F.batch_norm(x, None, None, training=True)


def average_pool(x: Tensor) -> Tensor:
    """3×3 average without padding in the count, as a depthwise convolution: on CPUs 4 times as fast and more."""
    return _AveragePool.apply(x)


class _AveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ones, ctx.inverse_count = _pool_constants(*x.shape[-3:], x.dtype, x.device)
        return F.conv2d(x, ones, padding=1, groups=len(ones)).mul_(ctx.inverse_count)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        ones, inverse_count = _pool_constants(*gradient.shape[-3:], gradient.dtype, gradient.device)
        return F.conv2d(gradient * inverse_count, ones, padding=1, groups=len(ones))


@lru_cache(maxsize=64)
def _pool_constants(
    channels: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The kernel [channels, 1, 3, 3], and [height, width]: one over the number of pixels under a 3×3 window."""
    ones = torch.ones(channels, 1, 3, 3, dtype=dtype, device=device)
    plane = torch.ones(1, 1, height, width, dtype=dtype, device=device)
    return ones, 1 / F.conv2d(plane, ones[:1], padding=1)[0, 0]


def mixed_cell(x: Tensor, kernels_1x1: Tensor, kernels_3x3: Tensor, sample: Tensor, active: Tensor) -> Tensor:
    """[T, B, C, H, W]; arguments and formula as in `modnas_fast.spaces.nb201.mixed_cell`."""
    states = x.movedim(2, -1).contiguous().movedim(-1, 2).unbind(0)
    kernels, memo = Kernels(kernels_1x1, kernels_3x3), Memo()
    rows = zip(sample.unbind(0), active.tolist(), states * (len(sample) // len(states)), strict=True)
    return torch.stack([cell(state, kernels, Choice(row, runs), memo, memo) for row, runs, state in rows])
