"""Costs of networks that devices do not share, and that are known by their features alone: tables of rows.

A row is a relaxed sample of the space: shares of options that give the features which were published of a network.
Whatever is differentiable in samples, as predictors are, takes rows as it takes one-hots; of a network's own layers
they know no more than their means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from modnas_fast.spaces.published import ColumnsJudge, CostJudge


@dataclass(frozen=True)
class RowTable:
    """Costs of rows on devices, each of which has rows of its own.

    `samples[device]` is [n, N] and `values[device]` [n, C], float64, with a column per entry of `metrics`
    ({"latency": "ms"}); `numbers[device]` says which rows of the published file they are.
    """

    metrics: dict[str, str]
    samples: dict[str, Tensor]
    values: dict[str, Tensor]
    numbers: dict[str, list[int]]
    #: of any network
    judge: CostJudge
    #: by device, which of the published rows were left out and why, in words
    left_out: dict[str, str] = field(default_factory=dict)

    def select(self, metrics: Sequence[str]) -> RowTable:
        """The table with these metrics alone, in this order."""
        if list(metrics) == list(self.metrics):
            return self
        columns = [list(self.metrics).index(name) for name in metrics]
        units = {name: self.metrics[name] for name in metrics}
        values = {name: v[:, columns] for name, v in self.values.items()}
        return replace(self, metrics=units, values=values, judge=ColumnsJudge(self.judge, columns))

    def lacking(self, device: str) -> list[str]:
        """The metrics that a device lacks: none."""
        return []


class LinearModel:
    """Values [n, C] as linear functions of counts [n, F], by ridge regression on standardised counts.

    Args:
        counts: [n, F].
        values: [n, C].
        penalty: per row, in units of the standardised counts' variance.

    >>> model = LinearModel(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0], [5.0]]), penalty=1e-9)
    >>> model(torch.tensor([[4.0]])).round(decimals=3)
    tensor([[9.]], dtype=torch.float64)
    """

    def __init__(self, counts: Tensor, values: Tensor, penalty: float) -> None:
        counts, values = counts.double(), values.double()
        self._mean, self._offset = counts.mean(0), values.mean(0)
        spread = (counts - self._mean).square().mean(0).sqrt()
        self._spread = torch.where(spread > 1e-9, spread, 1.0)
        standard = (counts - self._mean) / self._spread
        gram = standard.T @ standard + penalty * len(counts) * torch.eye(counts.shape[1], dtype=torch.float64)
        self.slopes = torch.linalg.solve(gram, standard.T @ (values - self._offset)) / self._spread[:, None]
        """Of each value in each count, [F, C]."""

    def __call__(self, counts: Tensor) -> Tensor:
        """Values [..., C], float64, of counts [..., F]."""
        return (counts.double() - self._mean) @ self.slopes + self._offset
