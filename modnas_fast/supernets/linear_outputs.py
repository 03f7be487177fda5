"""Outputs that a matrix makes of hidden states, and their cross-entropies without the outputs in memory.

Logits over a vocabulary are the largest tensor of a language model: S networks on B sequences of L tokens would have
S · B · L · V numbers. Here they exist for a chunk of tokens at a time, as in Wijmans et al. 2024, "Cut Your Losses in
Large-Vocabulary Language Models" (arXiv 2411.09009).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

#: logits that exist at a time on a CPU, whose caches hold them, and elsewhere; at least _ROWS tokens have theirs
_LOGITS_ON_CPU, _LOGITS = 2**20, 2**26
_ROWS = 64
#: classes per token up to which a network's gradient by the weight is kept: beside a token's activations, which are more
#: than ten times its hidden states, so much is little
_CLASSES_PER_TOKEN = 8


class LinearOutputs:
    """Outputs hidden_s · weight[:, :e_s]ᵀ of S networks: logits [S, B, ..., V], kept as their factors.

    Args:
        hidden: of each network, [B, ..., e_s]; widths may differ.
        weight: [V, E], E at least the largest width; a network uses its first columns.

    >>> outputs = LinearOutputs([torch.ones(1, 2, 1), torch.ones(1, 2, 2)], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> outputs.logits().tolist()
    [[[[1.0, 3.0], [1.0, 3.0]]], [[[3.0, 7.0], [3.0, 7.0]]]]
    >>> [round(nats, 3) for nats in outputs.losses(torch.tensor([[0, 1]])).tolist()]
    [1.127, 2.018]
    """

    def __init__(self, hidden: Sequence[Tensor], weight: Tensor) -> None:
        self.hidden, self.weight = tuple(hidden), weight

    def __len__(self) -> int:
        return len(self.hidden)

    def detach(self) -> LinearOutputs:
        """The same without a gradient."""
        return LinearOutputs([part.detach() for part in self.hidden], self.weight.detach())

    def logits(self) -> Tensor:
        """All outputs at once, [S, B, ..., V]."""
        return torch.stack([F.linear(part, self.weight[:, : part.shape[-1]]) for part in self.hidden])

    @torch.no_grad()
    def nats(self, y: Tensor) -> Tensor:
        """Cross-entropies [S, B, ...] in nats for labels y [B, ...], without a gradient, in float32 or wider."""
        rows, labels = self._rows(), y.reshape(-1)
        nats = torch.empty(len(rows), len(labels), dtype=_wide(self.weight), device=y.device)
        for s, some in _chunks(rows, self.weight):
            nats[s, some] = _probabilities(rows[s][some], self.weight, labels[some])[1]
        return nats.view(len(rows), *y.shape)

    def losses(self, y: Tensor, known: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropies [S] in nats for labels y [B, ...], differentiable once, in float32 or wider.

        Args:
            y: labels.
            known: which of them count, bool [B, ...]; None: all.
            smoothing: share of each label's probability that goes to all labels alike.
        """
        labels = y.reshape(-1)
        shares = labels.new_full(labels.shape, 1 / len(labels), dtype=_wide(self.weight))
        if known is not None:
            shares = known.reshape(-1).to(shares)
            shares = shares / shares.sum()
        # autograd asks for gradients by inputs that want one even where it is off
        losses: Tensor = _Losses.apply(torch.is_grad_enabled(), self.weight, labels, shares, *self._rows())
        return losses + smoothing * self._beyond_mean(labels, shares) if smoothing else losses

    def _beyond_mean(self, labels: Tensor, shares: Tensor) -> Tensor:
        """The outputs of labels less the mean of all outputs [S], of which no other output is needed.

        So much the cross-entropy with all labels alike is above that with the label.
        """
        mean = self.weight.mean(dim=0)
        found = [
            ((part * (self.weight[labels, : part.shape[1]] - mean[: part.shape[1]])).sum(dim=1) * shares).sum()
            for part in self._rows()
        ]
        return torch.stack(found)

    def _rows(self) -> list[Tensor]:
        return [part.reshape(-1, part.shape[-1]) for part in self.hidden]


class _Losses(torch.autograd.Function):
    """Nats [S] of weight [V, E], labels [R] with shares [R] and S times hidden states [R, e_s].

    Their gradients are computed with them, up to the cotangent of each. That by the weight is kept for each of
    the networks where it is small beside their activations; else probabilities are computed once more for it.
    """

    @staticmethod
    def forward(ctx: Any, enabled: bool, weight: Tensor, y: Tensor, shares: Tensor, *hidden: Tensor) -> Tensor:
        by_weight, by_hidden = enabled and ctx.needs_input_grad[1], enabled and any(ctx.needs_input_grad[4:])
        at_once = by_weight and keeps_gradient(len(y), len(weight))
        losses = torch.zeros(len(hidden), dtype=_wide(weight), device=weight.device)
        of_hidden = [torch.empty_like(part) for part in hidden] if by_hidden else []
        of_weight = [weight.new_zeros(len(weight), part.shape[1]) for part in hidden] if at_once else []
        for s, rows in _chunks(hidden, weight):
            p, nats = _probabilities(hidden[s][rows], weight, y[rows])
            losses[s] += nats @ shares[rows]
            if by_hidden or at_once:
                p = _less_chosen(p, y[rows]).mul_(shares[rows, None]).to(weight.dtype)
            if by_hidden:
                torch.mm(p, _columns(weight, hidden[s]), out=of_hidden[s][rows])
            if at_once:
                of_weight[s].addmm_(p.T, hidden[s][rows])
        ctx.by_hidden, ctx.at_once, ctx.shape = by_hidden, at_once, weight.shape
        kept = (weight, *hidden) if by_weight and not at_once else ()
        ctx.save_for_backward(y, shares, *of_hidden, *of_weight, *kept)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (y, shares, *tensors), count = ctx.saved_tensors, len(cotangent)
        of_hidden: list[Tensor | None] = [None] * count
        of_weight = None
        if ctx.by_hidden:
            of_hidden = [part * factor.to(part.dtype) for part, factor in zip(tensors[:count], cotangent)]
            tensors = tensors[count:]
        if ctx.at_once:
            of_weight = tensors[0].new_zeros(ctx.shape)
            for part, factor in zip(tensors, cotangent, strict=True):
                _columns(of_weight, part).add_(part * factor.to(part.dtype))
        elif ctx.needs_input_grad[1]:
            of_weight = _products(tensors[0], y, tensors[1:], cotangent[:, None] * shares)
        return None, of_weight, None, None, *of_hidden


def _products(weight: Tensor, y: Tensor, hidden: Sequence[Tensor], factors: Tensor) -> Tensor:
    """The gradient by the weight of Σ nats · factors [S, R]."""
    total = torch.zeros_like(weight)
    for s, rows in _chunks(hidden, weight):
        p, _ = _probabilities(hidden[s][rows], weight, y[rows])
        scaled = _less_chosen(p, y[rows]).mul_(factors[s, rows, None]).to(weight.dtype)
        _columns(total, hidden[s]).addmm_(scaled.T, hidden[s][rows])
    return total


def _probabilities(hidden: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities [R, V] and nats [R] of some tokens."""
    logits = (hidden @ _columns(weight, hidden).T).to(_wide(weight))
    chosen = logits.gather(1, y[:, None])[:, 0]
    p = logits.softmax(1)
    return p, logits.amax(1) - p.amax(1).log() - chosen  # the largest has at least 1 / V


def _wide(weight: Tensor) -> torch.dtype:
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def _chunks(hidden: Sequence[Tensor], weight: Tensor) -> Iterator[tuple[int, slice]]:
    """Of each network, which tokens are computed at a time."""
    step = _step(len(weight), weight.device.type)
    for s, part in enumerate(hidden):
        for start in range(0, len(part), step):
            yield s, slice(start, start + step)


def logits_at_a_time(rows: int, vocabulary: int, kind: str) -> int:
    """How many logits of R tokens exist at a time on a kind of device.

    >>> logits_at_a_time(100, 10, "cpu"), logits_at_a_time(100_000, 50_000, "cpu")
    (1000, 3200000)
    """
    return min(rows, _step(vocabulary, kind)) * vocabulary


def keeps_gradient(rows: int, vocabulary: int) -> bool:
    """Whether the losses of R tokens keep each network's gradient by the weight, which has the size of the weight.

    >>> keeps_gradient(1000, 2000), keeps_gradient(1000, 50_000)
    (True, False)
    """
    return vocabulary <= _CLASSES_PER_TOKEN * rows


def _step(vocabulary: int, kind: str) -> int:
    return max(_ROWS, (_LOGITS_ON_CPU if kind == "cpu" else _LOGITS) // vocabulary)


def _columns(weight: Tensor, hidden: Tensor) -> Tensor:
    return weight[:, : hidden.shape[-1]]


def _less_chosen(p: Tensor, y: Tensor) -> Tensor:
    """p [R, V] less the one-hots of labels y [R], in place."""
    return p.scatter_add_(1, y[:, None], p.new_full((1, 1), -1.0).expand(len(y), 1))
