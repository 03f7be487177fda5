"""Costs of networks that nobody measured, by linear models that were fitted to all measured networks of a device.

Single measurements are noisy; a model over thousands of them is less so, and a search cannot profit from a lucky one.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.published import Fit

#: penalty of the ridge models per network, of standardised costs
RIDGE = 1e-6


class RidgeCosts:
    """Ridge models on the space's detailed counts (`SearchSpace.details`), one per device and cost: a `CostJudge`.

    Sizes that lie outside of all that was measured may lead a linear model anywhere, below zero even. So no network is
    judged to cost less than the least that was measured: an answer cannot gain by that.

    Args:
        space: the search space.
        onehot: of the networks measured, [n, N].
        values: their costs by device, float64 [n, C].
    """

    def __init__(self, space: SearchSpace, onehot: Tensor, values: dict[str, Tensor]) -> None:
        self._space = space
        self._onehot = onehot
        self._values = values
        self._weights: dict[str, Tensor] = {}

    def _details(self, onehot: Tensor) -> Tensor:
        return self._space.details(self._space.canonical(onehot).double())

    @cached_property
    def _counts(self) -> Tensor:
        return self._details(self._onehot)

    @cached_property
    def _gram(self) -> Tensor:
        penalty = RIDGE * len(self._counts) * torch.eye(self._counts.shape[1], dtype=torch.float64)
        return torch.linalg.cholesky(self._counts.T @ self._counts + penalty)

    def _of(self, device: str) -> Tensor:
        """Weights [F, C] of what differs from the mean, on a device; NaN for a cost that was not measured there."""
        if device not in self._weights:
            values = self._values[device]
            self._weights[device] = torch.cholesky_solve(self._counts.T @ (values - values.mean(0)), self._gram)
        return self._weights[device]

    def _least(self, device: str, onehot: Tensor) -> Tensor:
        """What the networks [n, N] are judged to cost at least, broadcast with [n, C]."""
        return self._values[device].amin(0)

    def __call__(self, device: str, onehot: Tensor) -> Tensor:
        """Costs [n, C], float64, of networks [n, N] on a device."""
        told = self._details(onehot) @ self._of(device) + self._values[device].mean(0)
        return torch.maximum(told, self._least(device, onehot))

    def fits(self, device: str) -> list[Fit]:
        """How well each cost of the measured networks is told on a device, [C]."""
        return Fit.of_each(self(device, self._onehot), self._values[device])
