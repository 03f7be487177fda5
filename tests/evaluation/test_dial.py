"""Tests of how far preferences are a dial."""

from __future__ import annotations

import numpy as np
import pytest

from modnas_fast.evaluation.dial import covered_share, monotone_share
from modnas_fast.method.preferences import rays


@pytest.mark.parametrize("kind", ["sum", "maximum"])
@pytest.mark.parametrize(("objectives", "count"), [(2, 24), (3, 66), (4, 120)])
def test_best_networks_of_weighted_sums_and_maxima_follow_every_preference(
    objectives: int, count: int, kind: str
) -> None:
    networks = np.random.default_rng(objectives).random((500, objectives))
    r = rays(count, objectives).double().numpy()
    weighed = r[:, None] * networks[None]
    best = (weighed.sum(-1) if kind == "sum" else weighed.max(-1)).argmin(axis=1)
    assert monotone_share(r, networks[best]) == 1


def test_answers_that_ignore_preferences_in_part_are_told() -> None:
    r = rays(24, 2).double().numpy()
    falling = np.linspace(0, 1, 24)
    values = np.column_stack([falling, 1 - falling])
    assert monotone_share(r, values) == 1
    assert monotone_share(r, values[::-1]) == 0
    values[[3, 4]] = values[[4, 3]]  # of 276 pairs, for each objective, one is the wrong way round
    assert monotone_share(r, values) == pytest.approx(1 - 1 / 276)


def test_without_pairs_nothing_is_told() -> None:
    assert monotone_share([], []) is None
    assert monotone_share([(0.5, 0.5)], [(1.0, 2.0)]) is None
    assert monotone_share([(0.2, 0.3, 0.5), (0.4, 0.4, 0.2)], [(1.0, 2.0, 3.0)] * 2) is None


def test_covered_are_points_with_an_answer_hardly_worse_in_any_objective() -> None:
    front = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    assert covered_share(front, front) == 1
    assert covered_share(front, front + 0.009) == 1
    assert covered_share(front, front + [0.0, 0.011]) == 0
    assert covered_share(front, front[:0]) == 0
