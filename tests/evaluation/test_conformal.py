"""Bounds hold as often as they say, for whatever errors predictions have."""

from __future__ import annotations

import numpy as np
import pytest

from modnas_fast.evaluation.conformal import conformal_factor, least_networks
from modnas_fast.runtime.errors import InputError


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("skewed", [False, True])
def test_coverage(confidence: float, skewed: bool) -> None:
    source = np.random.default_rng(0)
    within = []
    for _ in range(4000):
        predicted = source.uniform(1, 10, 40)
        errors = source.exponential(0.3, 40) + 0.5 if skewed else np.exp(source.normal(0.2, 0.3, 40))
        factor = conformal_factor(predicted[:39].tolist(), (predicted * errors)[:39].tolist(), confidence)
        within.append(errors[39] <= factor)
    # ceil(40 c) / 40 = c exactly; the deviation of a mean of 4,000 is below 0.0064
    assert abs(np.mean(within) - confidence) < 4 * 0.0064


@pytest.mark.parametrize("confidence, least", [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_networks(confidence: float, least: int) -> None:
    assert least_networks(confidence) == least
    assert conformal_factor([2.0] * least, [1.0] * (least - 1) + [3.0], confidence) == 1.5  # the largest ratio
    with pytest.raises(InputError, match=f"wants at least {least} held-out networks .* there are {least - 1}; search"):
        conformal_factor([2.0] * (least - 1), [1.0] * (least - 1), confidence)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 90.0, float("nan")])
def test_no_probability(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence: wanted a number between 0 and 1"):
        conformal_factor([1.0], [1.0], confidence)
