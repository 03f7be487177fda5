"""Exact fronts: normalisation, scores by hand and against definitions, and what is known of the real ones."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modnas_fast.evaluation.exact import ExactFront, Score
from modnas_fast.reproduction.tables import load_benchmark

needs_tables = pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name the tables")


def staircase() -> ExactFront:
    """Five networks: the first learned nothing; 1, 2, 4 are the front, 3 is beaten by 2."""
    errors = torch.tensor([90.0, 10.0, 20.0, 25.0, 30.0])
    return ExactFront(errors, torch.tensor([[0.5], [5.0], [2.0], [3.0], [1.0]]), errors < 89)


def test_values_are_normalised_over_what_learned_something() -> None:
    table = staircase()
    assert table.values[1:].tolist() == [[0.0, 1.0], [0.5, 0.25], [0.75, 0.5], [1.0, 0.0]]
    assert table.values[0].tolist() == [4.0, -0.125]
    assert table.rows.tolist() == [1, 2, 4] and table.hypervolume == 0.375


@pytest.mark.parametrize(
    ("rows", "score"),
    [
        ([1, 2, 4], Score(0.375, 1.0, 0.0, 3)),
        ([2, 2, 0, 3], Score(0.375, 1.0, (0.5 + 0.25) / 3, 1)),
        ([3], Score(0.125, 1 / 3, (0.75 + math.hypot(0.25, 0.25) + 0.5) / 3, 1)),
        ([0], Score(0.0, 0.0, math.sqrt(2), 0)),
        ([], Score(0.0, 0.0, math.sqrt(2), 0)),
    ],
)
def test_scores_by_hand(rows: list[int], score: Score) -> None:
    found = staircase().score(rows)
    assert found.to_dict() == pytest.approx(score.to_dict()) and isinstance(found.networks, int)


def test_the_front_among_rows_comes_by_rising_error() -> None:
    table = staircase()
    assert table.front([4, 3, 2, 2, 0]) == [2, 4]
    assert table.front([0]) == table.front([]) == []


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=2, max_size=12), st.data())
def test_three_objectives_equal_the_definitions(values: list[tuple[int, ...]], data: st.DataObject) -> None:
    points = np.array([(0, 0, 0), (6, 6, 6), *values], dtype=float)[::-1].copy()
    table = ExactFront(torch.tensor(points[:, 0]), torch.tensor(points[:, 1:]), torch.ones(len(points)) > 0)
    rows = data.draw(st.lists(st.integers(0, len(points) - 1), min_size=1))
    cells = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    covered = (points[rows] <= cells).all(-1).any(1).mean()
    score = table.score(rows)
    assert score.hypervolume == pytest.approx(covered) and table.hypervolume == pytest.approx(1.0)
    origin = [np.linalg.norm(points[row] / 6) for row in rows]
    assert score.igd_plus == pytest.approx(min(origin)), "the exact front is the origin alone"
    beaten = [any((points[i] <= points[j]).all() and (points[i] < points[j]).any() for i in rows) for j in rows]
    best = {tuple(points[j]) for j, is_beaten in zip(rows, beaten) if not is_beaten}
    assert score.networks == len(best)
    assert {tuple(points[row]) for row in table.front(rows)} == best


@needs_tables
def test_the_real_fronts_are_those_of_the_published_protocol() -> None:
    benchmark = load_benchmark()
    fronts = list(benchmark.fronts.values())
    assert len(fronts) == 19 and [int(front.kept.sum()) for front in fronts] == [15284] * 19
    assert np.mean([front.hypervolume for front in fronts]) == pytest.approx(0.9695, abs=5e-5)
    for points, wanted in ((3, 0.979), (8, 0.998), (24, 1.0)):
        ratios = [front.score(greedy(front, points)).ratio for front in fronts]
        assert np.mean(ratios) == pytest.approx(wanted, abs=2e-3), points


def greedy(front: ExactFront, count: int) -> list[int]:
    """Points of the front one after the other, each the one that adds most to the area; of two objectives."""
    chosen: list[int] = []
    for _ in range(min(count, len(front.rows))):
        areas = [area(front.values[[*chosen, row]]) for row in front.rows]
        chosen.append(int(front.rows[int(np.argmax(areas))]))
    return chosen


def area(points: np.ndarray) -> float:
    """That is dominated by points in [0, 1]², as a sum of strips."""
    ordered = points[np.argsort(points[:, 0])]
    right = np.append(ordered[1:, 0], 1.0)
    return float(((right - ordered[:, 0]) * (1 - np.minimum.accumulate(ordered[:, 1]))).sum())


@needs_tables
def test_how_far_random_search_gets_on_the_real_tables() -> None:
    fronts = list(load_benchmark().fronts.values())
    generator = np.random.default_rng(0)
    for networks, wanted in ((24, 0.881), (100, 0.936), (300, 0.962), (1000, 0.981)):
        ratios = [
            front.score(generator.choice(15625, networks, replace=False)).ratio for front in fronts for _ in range(20)
        ]
        assert np.mean(ratios) == pytest.approx(wanted, abs=0.012), networks
