"""The real tables: what is known of them, and how far searches get on them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from modnas_fast.baselines import BASELINES, Problem
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.runtime.errors import InputError

needs_tables = pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name the tables")
DEVICES = ["1080ti_1", "samsung_a50", "gold_6226", "eyeriss"]


@pytest.fixture(scope="module")
def known() -> KnownSpace:
    return load_benchmark(search=DEVICES).known_space()


@needs_tables
def test_networks_that_learned_nothing_are_dropped(known: KnownSpace) -> None:
    assert len(known.architectures) == 15625
    assert [int(front.kept.sum()) for front in known.fronts.values()] == [15284] * 4


@needs_tables
@pytest.mark.parametrize(
    ("method", "least", "most"),
    [("random", 0.94, 0.98), ("random-hypernet", 0.94, 0.98), ("local-search", 0.985, 1), ("evolution", 0.985, 1)],
)
def test_how_far_searches_get_with_300_networks(known: KnownSpace, method: str, least: float, most: float) -> None:
    ratios = []
    for seed, device in enumerate(DEVICES):
        problem = Problem.on(known, device, 300)
        BASELINES[method](problem, seed)
        ratios.append(known.fronts[device].score(problem.rows).ratio)
    assert least < np.mean(ratios) <= most, ratios


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match="task: wanted one of cifar10, cifar100, imagenet16-120, got 'mnist'"):
        load_benchmark("mnist")
