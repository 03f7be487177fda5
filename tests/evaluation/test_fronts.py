"""Fronts and hypervolumes of any number of objectives, and their plain form by keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modnas_fast.devices import Device
from modnas_fast.evaluation.fronts import Bounds, Point, front, front_membership, hypervolume, nondominated
from modnas_fast.result.content import device_entry, objectives_on, plain_points, points_of
from modnas_fast.runtime.objective import Objective, costs_of

THREE = (Objective("error", "%"), Objective("latency", "ms"), Objective("energy", "mJ"))


def points(*values: tuple[float, ...]) -> list[Point]:
    return [Point(str(i), value) for i, value in enumerate(values)]


def test_three_objectives_by_hand() -> None:
    bounds = Bounds((0.0, 0.0, 0.0), (10.0, 4.0, 2.0))
    found = points((5.0, 1.0, 1.0), (10.0, 4.0, 0.0), (5.0, 2.0, 1.0))
    assert hypervolume(found[:1], bounds) == pytest.approx(0.5 * 0.75 * 0.5)
    assert nondominated(found) == [True, True, False]
    assert front(found) == [found[0], found[1]]  # by the first cost
    assert bounds.normalize(found[:1]).tolist() == [[0.5, 0.25, 0.5]]
    assert bounds.normalize([]).shape == (0, 3) and hypervolume([], bounds) == 0


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=12))
def test_the_front_is_what_pairwise_comparison_says(values: list[tuple[int, int, int]]) -> None:
    found = points(*[tuple(map(float, value)) for value in values])
    kept = {point.values for point in front(found)}
    for value in values:
        beaten = any(other != value and all(np.less_equal(other, value)) for other in values)
        assert (tuple(map(float, value)) in kept) is not beaten
    assert len(front(found)) == len(kept)


def test_membership_agrees_with_fronts_of_points() -> None:
    generator = torch.Generator().manual_seed(0)
    errors, costs = torch.rand(40, generator=generator), torch.rand(40, 1, 2, generator=generator)
    found = points(*[(e, *row) for e, row in zip(errors.tolist(), costs[:, 0].tolist())])
    assert front_membership(errors, costs)[:, 0].tolist() == nondominated(found)


def test_plain_points_name_each_objective_by_its_key() -> None:
    found = [Point("a", (1.0, 2.0, 3.0), (0.2, 0.3, 0.5)), Point("b", (4.0, 5.0, 6.0))]
    plain = plain_points(found, THREE)
    assert plain[0] == {
        "architecture": "a", "error": 1.0, "latency_ms": 2.0, "energy_mj": 3.0, "preference": (0.2, 0.3, 0.5)
    }  # fmt: skip
    assert "preference" not in plain[1] and points_of(plain, THREE) == found


@pytest.mark.parametrize(
    ("name", "unit", "key"),
    [
        ("latency", "ms", "latency_ms"),
        ("latency", "µs", "latency_us"),
        ("energy", "mJ", "energy_mj"),
        ("perplexity", "", "perplexity"),
        ("error", "%", "error"),
        ("throughput", "images/s", "throughput_images_s"),
    ],
)
def test_keys(name: str, unit: str, key: str) -> None:
    assert Objective(name, unit).key == key
    assert [cost.key for cost in costs_of({name: unit})] == [key]


def test_what_is_told_of_a_device_with_two_metrics() -> None:
    device = Device.from_references(
        "pi", {"latency": [1.0, 3.0], "energy": [4.0, 2.0]}, {"latency": "ms", "energy": "mJ"}
    )
    rays = [
        {"architecture": "a", "error": 10.0, "latency_ms": 1.0, "energy_mj": 4.0, "preference": [0.5, 0.3, 0.2]},
        {"architecture": "b", "error": 10.0, "latency_ms": 1.0, "energy_mj": 3.0, "preference": [0.4, 0.3, 0.3]},
    ]
    bounds, error = Bounds((0.0, 0.0, 0.0), (20.0, 2.0, 6.0)), Objective("error", "%")
    assert [objective.key for objective in objectives_on(device, error)] == ["error", "latency_ms", "energy_mj"]
    predictor = {"latency_ms": {"spearman": 0.9, "networks": 2, "judged": [0.5, 2.0]}}
    found = {"rays": rays, "random": rays[:1]}
    entry = device_entry(device, error, found, predictor, bounds, noise={"latency": 0.1}, measured={"b": (1.5, 3.5)})
    assert [point["architecture"] for point in entry["front"]] == ["b"]
    assert entry["hypervolume"] == pytest.approx(0.5 * 0.5 * 0.5)
    assert entry["hypervolume_bounds"] == {"error": [0.0, 20.0], "latency_ms": [0.0, 2.0], "energy_mj": [0.0, 6.0]}
    assert [ray["nondominated"] for ray in entry["rays"]] == [False, True]
    assert entry["ranges"] == {"latency_ms": [1.0, 3.0], "energy_mj": [2.0, 4.0]}
    assert entry["judged"] == {"latency_ms": [0.5, 3.0]} and entry["noise"] == {"latency_ms": 0.1}
    assert entry["predictor"] == {"latency_ms": {"spearman": 0.9, "networks": 2}}
    assert entry["measured"] == {"b": {"latency_ms": 1.5, "energy_mj": 3.5}}
