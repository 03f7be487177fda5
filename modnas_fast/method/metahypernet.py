"""The MetaHypernetwork Φ: logits of the architecture distribution from preference and device embedding."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.choices import HYPERNETWORKS


class BankHypernetwork(nn.Module):
    """The paper's bank of embedding tables, mixed by attention over the device embedding.

    Each table holds one row of logits per point of a lattice of preferences, and the tables are mixed with weights
    softmax(sin(⟨d, key_k⟩ / √E)). For two objectives, as in the paper, the lattice divides r₁ evenly. For M of them it
    is all r of multiples of 1/k: C(k + M − 1, M − 1) points, with the largest k that makes at most twice `intervals`,
    so that each row still meets enough of the preferences that are drawn.

    Args:
        num_options: N.
        embedding_width: E.
        tables: size of the bank (50 in the paper).
        intervals: rows per table for two objectives (101 in the paper), up to twice as many for more.
        interpolate: False takes the nearest row as published, which has no gradient in r: nearest in the cumulated
            entries r₁, r₁ + r₂, …. True interpolates linearly on small simplices with corners in the lattice, between
            two rows for two objectives, M for M (Freudenthal 1942, Kuhn 1960).
        generator: source of the initial weights: tables N(0, 0.001²), so that the output starts near zero
            (an almost uniform architecture distribution), and keys N(0, 1).
        num_objectives: M.

    Called with r [..., M] on the simplex and d [..., E]; returns logits [..., N].
    """

    _ranks: Tensor
    _steps: Tensor

    def __init__(
        self,
        num_options: int,
        embedding_width: int,
        tables: int = 50,
        intervals: int = 101,
        interpolate: bool = False,
        generator: torch.Generator | None = None,
        num_objectives: int = 2,
    ) -> None:
        super().__init__()
        self.divisions = lattice_divisions(num_objectives, intervals)
        rows = lattice_points(num_objectives, self.divisions)
        # [I, K, N]: what one preference needs of all tables lies together
        self.tables = nn.Parameter(1e-3 * torch.randn(rows, tables, num_options, generator=generator))
        self.keys = nn.Parameter(torch.randn(tables, embedding_width, generator=generator))
        self.interpolate = interpolate
        # the point with cumulated entries v₁ ≤ v₂ ≤ … has the row Σ_j C(v_j + j − 1, j)
        ranks = [[[comb(v + j, j + 1)] for v in range(self.divisions + 1)] for j in range(num_objectives - 1)]
        self.register_buffer("_ranks", torch.tensor(ranks), persistent=False)  # [M − 1, k + 1, 1]
        # one step along each axis, the last one first
        self.register_buffer("_steps", torch.eye(num_objectives - 1).long().flip(0), persistent=False)

    def forward(self, r: Tensor, d: Tensor) -> Tensor:
        axes = len(self._ranks)
        if r.shape[-1] != axes + 1:
            raise ValueError(f"r: this bank serves {axes + 1} objectives, got {r.shape[-1]}; make it for as many")
        attention = torch.softmax(torch.sin(d @ self.keys.T / d.shape[-1] ** 0.5), dim=-1)  # [..., K]
        position = r[..., :-1].cumsum(-1).clamp(0, 1) * self.divisions  # [..., M − 1], rising
        if not self.interpolate:
            return self._mixed_row(attention, self._row(position.round().long()))
        weights, corners = self._small_simplex(position)
        logits = weights[..., :1] * self._mixed_row(attention, self._row(corners[0]))
        for place, corner in enumerate(corners[1:], start=1):
            logits = logits + weights[..., place : place + 1] * self._mixed_row(attention, self._row(corner))
        return logits

    def _small_simplex(self, position: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Barycentric coordinates [..., M] of a position [..., M − 1] and the M lattice points [..., M − 1] around it.

        The first is the lowest; from each to the next is one step along an axis, the axis with the largest share first,
        of equal ones the last, so that entries keep rising.
        """
        lowest = position.detach().floor().long().clamp(max=self.divisions - 1)
        share, axis = (position - lowest).flip(-1).sort(dim=-1, descending=True, stable=True)
        bounds = torch.cat([torch.ones_like(share[..., :1]), share, torch.zeros_like(share[..., :1])], dim=-1)
        corners = [lowest]
        for step in nn.functional.embedding(axis, self._steps).unbind(-2):
            corners.append(corners[-1] + step)
        return bounds[..., :-1] - bounds[..., 1:], corners

    def _row(self, point: Tensor) -> Tensor:
        """Row [...] of the lattice point with cumulated entries [..., M − 1], in units of 1/k."""
        ranks = [nn.functional.embedding(entry, rank) for entry, rank in zip(point.unbind(-1), self._ranks)]
        return torch.cat(ranks, dim=-1).sum(-1)

    def _mixed_row(self, attention: Tensor, row: Tensor) -> Tensor:
        """Σ_k attention[..., k]·tables[row, k]: [..., N]."""
        rows = nn.functional.embedding(row, self.tables.flatten(1)).unflatten(-1, self.tables.shape[1:])
        return torch.matmul(attention[..., None, :], rows)[..., 0, :]


def lattice_points(num_objectives: int, divisions: int) -> int:
    """How many points of the simplex have entries that are multiples of 1/`divisions`."""
    return comb(divisions + num_objectives - 1, num_objectives - 1)


def lattice_divisions(num_objectives: int, intervals: int) -> int:
    """k: a bank for M objectives has the preferences that are multiples of 1/k; at least 1.

    Raises ValueError for fewer than 2 objectives.

    >>> [(k, lattice_points(m, k)) for m in (2, 3, 4, 5) for k in [lattice_divisions(m, intervals=51)]]
    [(50, 51), (12, 91), (6, 84), (4, 70)]
    """
    if num_objectives < 2:
        raise ValueError(f"num_objectives: a preference weighs at least 2, got {num_objectives}")
    divisions = 1
    most = intervals if num_objectives == 2 else 2 * intervals
    while lattice_points(num_objectives, divisions + 1) <= most:
        divisions += 1
    return divisions


class MLPHypernetwork(nn.Module):
    """A multilayer perceptron on (r, d), for any number of objectives, smooth in both.

    Args:
        num_options: N.
        num_objectives: M.
        embedding_width: E.
        hidden: width of the two hidden layers.
        logit_bound: logits are kept in ± this by a tanh, so that no option ever loses all probability and with it
            its gradient; with 5 options and a bound of 3 the largest probability is 0.99.
        generator: source of the initial weights; the last layer starts at N(0, 0.01²), so that the output
            starts near zero.

    Called with r [..., M] on the simplex and d [..., E]; returns logits [..., N].
    """

    def __init__(
        self,
        num_options: int,
        num_objectives: int,
        embedding_width: int,
        hidden: int = 100,
        logit_bound: float = 3.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.logit_bound = logit_bound
        widths = [num_objectives + embedding_width, hidden, hidden, num_options]
        layers: list[nn.Module] = []
        for depth, (inputs, outputs) in enumerate(pairwise(widths)):
            linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # the global generator stays untouched
            scale = 0.01 if depth == 2 else (2 / inputs) ** 0.5
            with torch.no_grad():
                linear.weight.copy_(scale * torch.randn(linear.weight.shape, generator=generator))
                linear.bias.zero_()
            layers += [linear, nn.SiLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, r: Tensor, d: Tensor) -> Tensor:
        centred = 2 * torch.cat([r, d], dim=-1) - 1
        return self.logit_bound * torch.tanh(self.layers(centred) / self.logit_bound)


def logits_on_host(hypernet: nn.Module, r: Tensor, d: Tensor) -> Tensor:
    """Logits [..., N] on the CPU for r [..., M] and d [..., E] there, wherever the hypernetwork lies."""
    device = next(hypernet.parameters()).device
    return hypernet(r.to(device), d.to(device)).cpu()


def make_metahypernet(
    kind: str,
    num_options: int,
    num_objectives: int,
    embedding_width: int,
    *,
    tables: int = 50,
    intervals: int = 101,
    interpolate: bool = False,
    hidden: int = 100,
    logit_bound: float = 3.0,
    generator: torch.Generator | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The MetaHypernetwork of the given kind, `bank`, `mlp` or a user's, called with r [..., M], d [..., E].

    `options` are keyword arguments of a user's. Raises InputError for an unknown kind, and for a user's module that
    gives other than logits [..., N].

    >>> phi = make_metahypernet("bank", num_options=30, num_objectives=2, embedding_width=10)
    >>> phi(torch.tensor([[0.2, 0.8]]), torch.rand(1, 10)).shape
    torch.Size([1, 30])
    """
    if kind == "bank":
        return BankHypernetwork(num_options, embedding_width, tables, intervals, interpolate, generator, num_objectives)
    if kind == "mlp":
        return MLPHypernetwork(num_options, num_objectives, embedding_width, hidden, logit_bound, generator)
    made = HYPERNETWORKS.find(kind, options)(
        num_options=num_options, num_objectives=num_objectives, embedding_width=embedding_width, generator=generator
    )
    _try(kind, made, num_options, num_objectives, embedding_width)
    return made


@torch.no_grad()
def _try(kind: str, made: Any, num_options: int, num_objectives: int, embedding_width: int) -> None:
    """Calls a user's module with one row and with several, as the search will."""
    if not isinstance(made, nn.Module):
        raise HYPERNETWORKS.fault(kind, f"gives a {type(made).__name__}, no torch.nn.Module")
    for leading in ((), (3,), (2, 3)):
        r = torch.full((*leading, num_objectives), 1 / num_objectives)
        shape = made(r, torch.zeros(*leading, embedding_width)).shape
        if shape != (*leading, num_options):
            wanted = f"r {list(r.shape)} gives {list(shape)}, wanted {[*leading, num_options]}"
            raise HYPERNETWORKS.fault(kind, f"gives logits of a wrong shape: {wanted}")
