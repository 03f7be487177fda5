"""Whether answers from a run's answers.npz are those of its reference, for many questions."""

from __future__ import annotations

import random
from typing import Any

import pytest

from modnas_fast import Device, Pick, Result

#: of a predicted cost, and in shares of the device's range: sums of float32 in another order, which may cancel
TOLERANCE = 1e-4


def new_devices(result: Result, count: int, source: random.Random) -> list[Device]:
    """Devices like those of the run, each reference network dearer or cheaper by up to a third."""
    width, found = len(result.references), []
    for number in range(count):
        base = source.choice(list(result.devices.values()))
        costs = {}
        for column, cost in enumerate(result.costs):
            low, high = base.ranges[cost.name]
            part = base.embedding[column * width : (column + 1) * width]
            costs[cost.key] = [(low + (high - low) * value) * source.uniform(0.7, 1.4) for value in part]
        asked = {cost.key: costs[cost.key] for cost in result.asked_of_devices}
        found.append(result.unseen_device(f"new {number}", asked))
    return found


def assert_same(mine: Pick, reference: Pick, device: Device) -> None:
    """The same network, quality and sources, and the same costs: known ones to the bit."""
    assert (mine.text, mine.indices, mine.device) == (reference.text, reference.indices, reference.device)
    assert (mine.quality, mine.quality_kind) == (reference.quality, reference.quality_kind)
    assert list(mine.costs) == list(reference.costs)
    for (key, cost), (low, high) in zip(mine.costs.items(), device.ranges.values(), strict=True):
        wanted = reference.costs[key]
        assert (cost.unit, cost.source, cost.extrapolated) == (wanted.unit, wanted.source, wanted.extrapolated)
        assert cost.doubt == wanted.doubt
        if cost.source == "predicted":
            assert cost.value == pytest.approx(wanted.value, rel=TOLERANCE, abs=TOLERANCE * (high - low))
        else:
            assert cost.value == wanted.value


def assert_as_good(mine: Pick, reference: Pick, device: Device) -> None:
    """The same quality and costs: where predictions of two networks differ by rounding alone, either may come first."""
    assert mine.quality == reference.quality
    for (key, cost), (low, high) in zip(mine.costs.items(), device.ranges.values(), strict=True):
        assert cost.value == pytest.approx(reference.costs[key].value, rel=TOLERANCE, abs=TOLERANCE * (high - low))


def assert_agrees(result: Result, preferences: int = 400, budgets: int = 60, seed: int = 0) -> None:
    """Asks `result` and its reference about its devices and new ones."""
    source = random.Random(seed)
    targets = [*result.devices.values(), *new_devices(result, 4, source)]
    reference: Any = result.reference
    for _ in range(preferences):
        device = source.choice(targets)
        weights = [source.expovariate(1) ** 2 for _ in result.objectives]
        assert result._queries(device, preference=True) is not reference
        assert_same(result.pick(device, preference=weights), reference.preferred(device, weights), device)
    for _ in range(budgets):
        device = source.choice(targets)
        limits = {}
        for cost in source.sample(result.costs, source.randint(1, len(result.costs))):
            low, high = device.ranges[cost.name]
            limits[cost.key] = low + (high - low) * source.uniform(0.05, 1.3)
        wanted = reference.within(device, limits, 7)
        if wanted:
            found = [result.pick(device, max=limits), *result.top(device, max=limits, count=7)]
            for mine, theirs in zip(found, [wanted[0], *wanted], strict=True):
                assert_same(mine, reference.listed(device, [mine.text])[0], device)
                assert_as_good(mine, theirs, device)
    for device in targets:
        for mine, theirs in zip(result._queries(device).evaluated(device), reference.evaluated(device), strict=True):
            assert_same(mine, theirs, device)


def front_of_reference(result: Result, device: Device) -> list[Any]:
    """The front as the reference has it."""
    plain = Result(result.run, result.content)
    return [(point.architecture, point.preference, point.sources) for point in plain.front(device)]
