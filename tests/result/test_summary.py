"""Bounds, fronts and counts from an evaluation made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modnas_fast.config import validate
from modnas_fast.devices import Device, Fingerprint
from modnas_fast.evaluation.fronts import Bounds, Point
from modnas_fast.result.content import (
    common_bounds,
    compose_history,
    device_entry,
    nondominated_anywhere,
    objectives_on,
    plain_points,
    points_of,
    result_content,
    verified_entry,
)
from modnas_fast.runtime.objective import Objective
from modnas_fast.search.history import History
from modnas_fast.spaces import NB201Space

space = NB201Space()
ERROR = Objective("error", "%")
OBJECTIVES = [ERROR, Objective("latency", "ms")]
A, B, C, D = space.references[:4]


def point(text: str, error: float, latency_ms: float, preference: list[float] | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"architecture": text, "error": error, "latency_ms": latency_ms}
    return entry if preference is None else {**entry, "preference": preference}


def evaluation(rays: list[dict[str, Any]], random: list[dict[str, Any]], bounds: tuple = (0.0, 10.0)) -> dict[str, Any]:
    return {"devices": {"here": {"rays": rays, "random": random, "cost_bounds": [list(bounds)]}}}


def test_errors_are_bounded_by_what_was_evaluated_on_any_device() -> None:
    both = evaluation([point(A, 30.0, 1.0)], [point(B, 50.0, 2.0)], (1.0, 4.0))
    both["devices"]["there"] = {
        "rays": [point(C, 20.0, 9.0)],
        "random": [point(D, 40.0, 8.0)],
        "cost_bounds": [[5.0, 9.0]],
    }
    bounds = common_bounds(both, ERROR, 90.0)
    assert bounds == {"here": Bounds((20.0, 1.0), (50.0, 4.0)), "there": Bounds((20.0, 5.0), (50.0, 9.0))}


def test_networks_no_better_than_a_guess_do_not_widen_the_bounds() -> None:
    learned = [point(A, 30.0, 1.0), point(B, 85.4, 2.0)]
    guesses = [point(C, 85.5, 0.5), point(D, 90.0, 0.1)]  # 95 % of the 90 % that a guess among ten makes
    for chance, largest in ((90.0, 85.4), (50.0, 50.0)):
        bounds = common_bounds(evaluation(learned, guesses), ERROR, chance)["here"]
        assert (bounds.low[0], bounds.high[0]) == (30.0, largest)


@pytest.mark.parametrize(
    ("errors", "error"),
    [([90.0, 89.0], (0.0, 90.0)), ([30.0], (30.0, 90.0)), ([30.0, 30.0], (30.0, 90.0)), ([0.0], (0.0, 90.0))],
    ids=["none learned", "one", "equal", "perfect"],
)
def test_bounds_never_collapse(errors: list[float], error: tuple[float, float]) -> None:
    content = evaluation([point(A, e, 1.0) for e in errors], [])
    bounds = common_bounds(content, ERROR, 90.0)["here"]
    assert (bounds.low[0], bounds.high[0]) == error


def test_points_survive_the_way_to_json_and_back() -> None:
    points = [Point(A, (10.0, 1.0), (0.25, 0.75)), Point(B, (20.0, 0.5), sources=("tabulated",))]
    plain = plain_points(points, OBJECTIVES)
    assert "sources" not in plain[0] and plain[1]["sources"] == {"latency_ms": "tabulated"}
    assert "preference" not in plain[1] and points_of(plain, OBJECTIVES) == points


def test_equal_points_are_nondominated_together() -> None:
    points = [Point(A, (10.0, 2.0)), Point(A, (10.0, 2.0)), Point(B, (10.0, 3.0)), Point(C, (20.0, 1.0))]
    assert nondominated_anywhere(points) == [True, True, False, True]
    assert nondominated_anywhere([]) == []


def test_the_hypervolume_over_time_is_in_the_final_bounds() -> None:
    history = History(["here"])
    history.step.append(5)
    history.tracked += [
        {"step": 10, "points": {"here": [[50.0, 5.0]], "there": [[100.0, 5.0]]}},
        {"step": 20, "points": {"here": [[0.0, 5.0], [50.0, 0.0]], "there": [[0.0, 0.0]]}},
    ]
    bounds = {name: Bounds((0.0, 0.0), (100.0, 10.0)) for name in ("here", "there")}
    history.costs.append([[0.25, 0.5]])
    content = compose_history(history, bounds, [Objective("latency", "ms"), Objective("energy", "mJ")])
    assert content["costs"] == {"latency_ms": [[0.25]], "energy_mj": [[0.5]]}
    assert "tracked" not in content and content["step"] == [5] and len(history.tracked) == 2
    assert content["hypervolume"]["step"] == [10, 20]
    assert content["hypervolume"]["devices"] == ["here", "there"]
    assert content["hypervolume"]["values"] == [pytest.approx([0.25, 0.0]), pytest.approx([0.75, 1.0])]


def composed(test_error: dict[str, float]) -> dict[str, Any]:
    """A result of two devices: on `here` A, B and D, of which D is dominated, A twice; on `there` B alone."""
    config = validate({"seed": 3})
    here = Device.from_reference_latencies("here", range(1, 11))
    there = replace(Device.from_reference_latencies("there", range(2, 12)), split="unseen")
    rays = [
        point(A, 10.0, 8.0, [1.0, 0.0]),
        point(A, 10.0, 8.0, [0.7, 0.3]),
        point(B, 30.0, 2.0, [0.2, 0.8]),
        point(D, 40.0, 2.0, [0.0, 1.0]),
    ]
    content = evaluation(rays, [point(C, 40.0, 8.0)])
    content["devices"]["there"] = {
        "rays": [point(B, 30.0, 4.0, [1.0, 0.0])] * 4,
        "random": [point(C, 40.0, 9.0)],
        "cost_bounds": [[0.0, 10.0]],
    }
    predictor = {"latency_ms": {"spearman": 0.9, "networks": 3, "judged": [1.0, 3.0]}}
    bounds = common_bounds(content, ERROR, 90.0)
    entries = [
        device_entry(
            device,
            ERROR,
            content["devices"][device.name],
            predictor,
            bounds[device.name],
            noise={"latency": 0.2},
            measured={A: (7.0,), B: (2.5,), C: (9.0,)},
            doubts={"latency": "busy" if device is there else ""},
            tested=test_error,
        )
        for device in (here, there)
    ]
    predicted = {name: {text: {"latency_ms": 5.0} for text in test_error} for name in ("here", "there")}
    return result_content(
        config,
        space,
        {"name": "dots", "notes": ["made by hand"]},
        objectives_on(here, ERROR),
        {"latency": "measured"},
        "inherited",
        Fingerprint("cpu", 2, 1, "2.9", ()),
        entries,
        [verified_entry(text, tested, entries, ERROR, predicted) for text, tested in test_error.items()],
        {"search": 1.0},
    )


def test_a_device_counts_its_distinct_nondominated_networks() -> None:
    here, there = composed({})["devices"]
    assert [p["architecture"] for p in here["front"]] == [B, A]
    assert here["distinct_nondominated"] == 2 and there["distinct_nondominated"] == 1
    assert [ray["nondominated"] for ray in here["rays"]] == [True, True, True, False]
    assert [ray["nondominated"] for ray in there["rays"]] == [True] * 4
    assert there["split"] == "unseen" and here["noise"] == {"latency_ms": 0.2}
    assert here["predictor"] == {"latency_ms": {"spearman": 0.9, "networks": 3}}
    assert here["trust"] == {"latency_ms": {"trustworthy": True, "why": ""}}
    assert there["trust"] == {"latency_ms": {"trustworthy": False, "why": "busy"}}


def test_hypervolumes_are_those_of_the_rays_and_of_the_random_networks() -> None:
    here, there = composed({})["devices"]
    # errors from 10 to 40 %, latencies from 0 to 10 ms
    assert here["hypervolume_bounds"] == {"error": [10.0, 40.0], "latency_ms": [0.0, 10.0]}
    assert here["hypervolume"] == pytest.approx(1.0 * 0.2 + (1 / 3) * 0.6)
    assert here["hypervolume_random"] == 0
    assert there["hypervolume"] == pytest.approx((1 / 3) * 0.6)


def test_verified_networks_carry_what_was_measured() -> None:
    result = composed({A: 12.0})
    here, _ = result["devices"]
    fast, slow = here["front"]
    assert "test" not in fast and "measured" not in fast
    assert slow["test"] == {"error": 12.0} and slow["measured"] == {"latency_ms": 7.0}
    assert result["verified"] == [
        {
            "architecture": A,
            "inherited": 10.0,
            "test": 12.0,
            "costs": {name: {"latency_ms": {"predicted": 5.0, "measured": 7.0}} for name in ("here", "there")},
        }
    ]


def test_a_device_holds_what_was_measured_and_what_judges_predictions() -> None:
    here, there = composed({})["devices"]
    assert here["measured"] == {text: {"latency_ms": ms} for text, ms in ((A, 7.0), (B, 2.5), (C, 9.0))}
    # references from 1 to 10 ms and from 2 to 11, held-out networks from 1 to 3
    assert (here["judged"]["latency_ms"], there["judged"]["latency_ms"]) == ([1.0, 10.0], [1.0, 11.0])


def test_the_head_tells_what_was_searched() -> None:
    result = composed({})
    assert result["schema"] == 2 and result["seed"] == 3 and result["verified"] == []
    assert result["task"] == {"name": "dots", "notes": ["made by hand"]} and result["quality_kind"] == "inherited"
    assert result["objectives"] == [
        {"name": "error", "unit": "%", "key": "error"}, {"name": "latency", "unit": "ms", "key": "latency_ms"}
    ]  # fmt: skip
    assert result["cost_sources"] == {"latency_ms": "measured"}
    assert result["configuration"]["seed"] == 3 and result["seconds"] == {"search": 1.0}
    assert result["machine"]["cpu"] == "cpu" and result["space"]["num_architectures"] == 15625
