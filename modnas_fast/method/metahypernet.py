"""The MetaHypernetwork Φ: logits of the architecture distribution from preference and device embedding."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.choices import HYPERNETWORKS
from modnas_fast.runtime.errors import InputError


class BankHypernetwork(nn.Module):
    """The paper's bank of embedding tables, mixed by attention over the device embedding.

    Table k holds one row of logits per preference interval; the row of r is picked by its first entry. The tables
    are mixed with weights softmax(sin(⟨d, key_k⟩ / √E)). For two objectives, where r has one free entry.

    Args:
        num_options: N.
        embedding_width: E.
        tables: size of the bank (50 in the paper).
        intervals: rows per table (101 in the paper).
        interpolate: False takes the nearest row as published, which has no gradient in r; True interpolates
            linearly between the two nearest.
        generator: source of the initial weights: tables N(0, 0.001²), so that the output starts near zero
            (an almost uniform architecture distribution), and keys N(0, 1).

    Called with r [..., 2] on the simplex and d [..., E]; returns logits [..., N].
    """

    def __init__(
        self,
        num_options: int,
        embedding_width: int,
        tables: int = 50,
        intervals: int = 101,
        interpolate: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        # [I, K, N]: what one preference needs of all tables lies together
        self.tables = nn.Parameter(1e-3 * torch.randn(intervals, tables, num_options, generator=generator))
        self.keys = nn.Parameter(torch.randn(tables, embedding_width, generator=generator))
        self.interpolate = interpolate

    def forward(self, r: Tensor, d: Tensor) -> Tensor:
        if r.shape[-1] != 2:
            raise ValueError(f"r: the bank serves two objectives, got {r.shape[-1]}; use the mlp head for more")
        attention = torch.softmax(torch.sin(d @ self.keys.T / d.shape[-1] ** 0.5), dim=-1)  # [..., K]
        position = r[..., 0].clamp(0, 1) * (len(self.tables) - 1)
        if not self.interpolate:
            return self._mixed_row(attention, position.round().long())
        low = position.detach().floor().long().clamp(max=len(self.tables) - 2)
        share = (position - low)[..., None]
        return (1 - share) * self._mixed_row(attention, low) + share * self._mixed_row(attention, low + 1)

    def _mixed_row(self, attention: Tensor, row: Tensor) -> Tensor:
        """Σ_k attention[..., k]·tables[row, k]: [..., N]."""
        rows = nn.functional.embedding(row, self.tables.flatten(1)).unflatten(-1, self.tables.shape[1:])
        return torch.matmul(attention[..., None, :], rows)[..., 0, :]


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
        if num_objectives != 2:
            raise InputError(f"hypernetwork.kind: the bank serves 2 objectives, got {num_objectives}; use 'mlp'")
        return BankHypernetwork(num_options, embedding_width, tables, intervals, interpolate, generator)
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
