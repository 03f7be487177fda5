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

    def logits(self) -> Tensor:
        """All outputs at once, [S, B, ..., V]."""
        return torch.stack([F.linear(part, self.weight[:, : part.shape[-1]]) for part in self.hidden])

    def nats(self, y: Tensor) -> Tensor:
        """Cross-entropies [S, B, ...] in nats for labels y [B, ...], in float32 or wider; differentiable once."""
        rows = [part.reshape(-1, part.shape[-1]) for part in self.hidden]
        nats: Tensor = _Nats.apply(self.weight, y.reshape(-1), *rows)
        return nats.view(len(rows), *y.shape)

    def smoothed_nats(self, y: Tensor, share: float) -> Tensor:
        """The same with label smoothing: `share` of each label's probability goes to all labels alike.

        Cross-entropy with all of them, less that with the label, is the label's output less their mean: no output of
        another label is needed.
        """
        nats, mean = self.nats(y), self.weight.mean(dim=0)
        beyond = [
            (part * (self.weight[:, : part.shape[-1]][y] - mean[: part.shape[-1]])).sum(dim=-1) for part in self.hidden
        ]
        return nats + share * torch.stack(beyond)

    def losses(self, y: Tensor) -> Tensor:
        """Mean cross-entropies [S] in nats for labels y [B, ...]."""
        return self.nats(y).flatten(1).mean(dim=1)


class _Nats(torch.autograd.Function):
    """Of weight [V, E], labels [R] and S times hidden states [R, e_s]: nats [S, R].

    Where the weight is frozen, the gradient by hidden states is at hand in the forward pass, up to each token's
    cotangent. Its own gradient sums over tokens, so that chunks are computed once more in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, y: Tensor, *hidden: Tensor) -> Tensor:
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        nats = torch.empty(len(hidden), len(y), dtype=wide, device=weight.device)
        at_once = any(ctx.needs_input_grad[2:]) and not ctx.needs_input_grad[0]
        kept = [torch.empty_like(part) for part in hidden] if at_once else []
        for s, rows in _chunks(hidden, weight):
            matrix = _columns(weight, hidden[s])
            logits = (hidden[s][rows] @ matrix.T).to(wide)
            chosen = logits.gather(1, y[rows, None])
            if not at_once:
                torch.sub(logits.logsumexp(1), chosen[:, 0], out=nats[s, rows])
                continue
            log_p = logits.log_softmax(1)
            nats[s, rows] = -log_p.gather(1, y[rows, None])[:, 0]
            kept[s][rows] = _less_chosen(log_p.exp_(), y[rows]).to(weight.dtype) @ matrix
        ctx.at_once = at_once
        ctx.save_for_backward(*(kept if at_once else (weight, y, *hidden)))
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.at_once:
            return None, None, *(part * c[:, None].to(part.dtype) for part, c in zip(ctx.saved_tensors, cotangent))
        weight, y, *hidden = ctx.saved_tensors
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[0] else None
        of_hidden = [torch.empty_like(part) if wanted else None
                     for part, wanted in zip(hidden, ctx.needs_input_grad[2:], strict=True)]  # fmt: skip
        for s, rows in _chunks(hidden, weight):
            matrix, part = _columns(weight, hidden[s]), hidden[s][rows]
            p = (part @ matrix.T).to(cotangent.dtype).softmax(1)
            scaled = _less_chosen(p, y[rows]).mul_(cotangent[s, rows, None]).to(weight.dtype)
            if (mine := of_hidden[s]) is not None:
                torch.mm(scaled, matrix, out=mine[rows])
            if of_weight is not None:
                _columns(of_weight, part).addmm_(scaled.T, part)
        return of_weight, None, *of_hidden


def _chunks(hidden: Sequence[Tensor], weight: Tensor) -> Iterator[tuple[int, slice]]:
    """Of each network, which tokens are computed at a time."""
    step = max(_ROWS, (_LOGITS_ON_CPU if weight.device.type == "cpu" else _LOGITS) // len(weight))
    for s, part in enumerate(hidden):
        for start in range(0, len(part), step):
            yield s, slice(start, start + step)


def _columns(weight: Tensor, hidden: Tensor) -> Tensor:
    return weight[:, : hidden.shape[-1]]


def _less_chosen(p: Tensor, y: Tensor) -> Tensor:
    """p [R, V] less the one-hots of labels y [R], in place."""
    return p.scatter_add_(1, y[:, None], p.new_full((1, 1), -1.0).expand(len(y), 1))
