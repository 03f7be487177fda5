"""Tests of expected gains of hypervolume."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.evaluation.expected_gain import MARGIN, expected_gains
from modnas_fast.evaluation.fronts import Bounds, Point, hypervolume

ERRORS = torch.tensor([20.0, 10.0, 8.0, 30.0], dtype=torch.float64)
KNOWN = torch.tensor([[1.0, 4.0], [2.0, 3.0], [4.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
COSTS = torch.tensor([[0.5, 5.0], [1.5, 2.5], [3.0, 1.5], [5.0, 0.5]], dtype=torch.float64)
MEAN = torch.tensor([18.0, 12.0, 9.0, 6.0], dtype=torch.float64).log()


def areas(errors: list[float], costs: list[float], others: torch.Tensor) -> float:
    """Hypervolume in shares of the ranges, those of costs with the candidates'."""
    low, high = float(others.min()), float(others.max())
    margin = MARGIN * (high - low)
    rise = MARGIN * float(ERRORS.max() - ERRORS.min())
    bounds = Bounds((0.0, low - margin), (float(ERRORS.max()) + rise, high + margin))
    points = [Point("", pair) for pair in zip(errors, costs)]
    scale = bounds.high[0] * (bounds.high[1] - bounds.low[1])
    return hypervolume(points, bounds) * scale / (float(ERRORS.max() - ERRORS.min()) * (high - low))


@pytest.mark.parametrize("deviation", [1e-9, 0.3])
def test_expectations_are_means_over_draws(deviation: float) -> None:
    found = expected_gains(MEAN, torch.full((4,), deviation, dtype=torch.float64), COSTS, ERRORS, KNOWN)
    drawn = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for device in range(2):
        others = torch.cat([COSTS[:, device], KNOWN[:, device]])
        before = areas(ERRORS.tolist(), KNOWN[:, device].tolist(), others)
        for network in range(4):
            gains = [
                areas([*ERRORS.tolist(), x], [*KNOWN[:, device].tolist(), float(COSTS[network, device])], others)
                - before
                for x in (MEAN[network] + deviation * (drawn if deviation > 0.1 else drawn[:1])).exp().tolist()
            ]
            expected = sum(gains) / len(gains)
            assert float(found[network, device]) == pytest.approx(expected, rel=0.15, abs=1e-3)


def test_the_uncertain_one_of_two_dominated_networks_promises_more() -> None:
    mean, costs = torch.full((2,), 12.0).log(), torch.full((2, 1), 2.5)
    gains = expected_gains(mean, torch.tensor([0.02, 0.4]), costs, ERRORS, KNOWN[:, :1])
    assert float(gains[1]) > 0.01 > float(gains[0]) >= 0


def test_nothing_is_gained_where_all_is_known_to_be_worse() -> None:
    gains = expected_gains(
        torch.tensor([25.0]).log(), torch.tensor([1e-6]), torch.tensor([[4.0]]), ERRORS, KNOWN[:, :1]
    )
    assert float(gains) == pytest.approx(0, abs=1e-9)
