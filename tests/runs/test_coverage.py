"""How often bounds hold: of held-out networks by the others, and of chosen ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modnas_fast.evaluation.conformal import halves_coverage
from modnas_fast.runs.coverage import with_coverage


def cost(ratios: list[float]) -> dict[str, Any]:
    return {"predicted": [2.0] * len(ratios), "measured": [2 * ratio for ratio in ratios], "networks": len(ratios)}


@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_halves_hold_as_often_as_they_say(confidence: float) -> None:
    source = np.random.default_rng(0)
    found = [halves_coverage([1.0] * 38, np.exp(source.normal(0.1, 0.3, 38)).tolist(), confidence) for _ in range(1500)]
    # 19 networks in a half: the ⌈20 c⌉-th smallest has 20 c / 20 = c of a further one; deviation of the mean < 0.003
    assert abs(float(np.mean(found)) - confidence) < 0.01  # type: ignore[arg-type]


def test_held_out_and_chosen_networks_are_counted() -> None:
    quality = {"phone": {"split": "search", "costs": {"latency_ms": cost([1.0 + 0.01 * at for at in range(18)])}}}
    predicted = {"phone": {"a": {"latency_ms": 1.0}, "b": {"latency_ms": 2.0}, "c": {"latency_ms": 1.0}}}
    measured = {"a": {"latency_ms": 1.05}, "b": {"latency_ms": 2.5}}  # c was never measured
    entries = [{"name": "phone", "measured": measured}]
    found = with_coverage(quality, predicted, entries)
    coverage = found["phone"]["costs"]["latency_ms"].pop("coverage")
    assert found == quality
    # halves of 9: the bound of 0.9 is the largest ratio of the other half, of 0.8 the eighth
    assert coverage["0.9"] == {"held_out": pytest.approx(17 / 18), "chosen": [1, 2]}
    assert coverage["0.8"] == {"held_out": pytest.approx(15 / 18), "chosen": [1, 2]}


@pytest.mark.parametrize("networks, known", [(3, []), (8, ["0.8"]), (17, ["0.8"]), (18, ["0.8", "0.9"])])
def test_too_few_tell_nothing(networks: int, known: list[str]) -> None:
    quality = {"phone": {"split": "search", "costs": {"latency_ms": cost([1.0] * networks)}}}
    found = with_coverage(quality, {"phone": {}}, [{"name": "phone", "measured": {}}])
    coverage = found["phone"]["costs"]["latency_ms"]["coverage"]
    assert [level for level, told in coverage.items() if told["held_out"] is not None] == known
    assert all(told["chosen"] is None for told in coverage.values())
