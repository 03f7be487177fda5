"""Tests of regions of fronts."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.config import make_config
from modnas_fast.devices import Device
from modnas_fast.method.region import EVERYWHERE, Region, emphasis, regions_by_device
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective

OBJECTIVES = (Objective("error", "%"), Objective("latency", "ms"))
PHONE = Device.from_reference_latencies("phone", [1.0, 3.0, 5.0])


def asked(**region: object) -> tuple[object, ...]:
    return make_config(preferences={"regions": [region]}).preferences.regions


def test_patterns_choose_devices_and_regions_add_up() -> None:
    regions = (*asked(devices=["pixel*"], within={"latency_ms": [3, 8]}), *asked(weights={"error": [0.5, None]}))
    found = regions_by_device(regions, ["pixel2", "pixel3", "fpga"], OBJECTIVES)  # type: ignore[arg-type]
    first = Region((EVERYWHERE, (3.0, 8.0)), (EVERYWHERE, EVERYWHERE))
    second = Region((EVERYWHERE, EVERYWHERE), ((0.5, float("inf")), EVERYWHERE))
    assert found == {"pixel2": (first, second), "pixel3": (first, second), "fpga": (second,)}
    assert first.to_dict(OBJECTIVES) == {"within": {"latency_ms": [3.0, 8.0]}, "weights": {}}
    assert second.to_dict(OBJECTIVES) == {"within": {}, "weights": {"error": [0.5, None]}}


@pytest.mark.parametrize(
    ("region", "names"),
    [
        (
            {"devices": ["pixel*"], "within": {"latency_ms": [3, 8]}},
            ["preferences.regions[0].devices", "'pixel*'", "fpga"],
        ),
        ({"within": {"energy_mj": [3, 8]}}, ["preferences.regions[0].within", "latency_ms", "energy_mj"]),
        ({"weights": {"latency_ms": [0.1, 0.5]}}, ["preferences.regions[0].weights", "error, latency", "latency_ms"]),
    ],
)
def test_what_the_run_has_not_is_named(region: dict[str, object], names: list[str]) -> None:
    with pytest.raises(InputError) as told:
        regions_by_device(asked(**region), ["fpga"], OBJECTIVES)  # type: ignore[arg-type]
    assert all(name in str(told.value) for name in names)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("preferences", "told"),
    [
        ({"regions": [{}]}, "wants within"),
        ({"regions": [{"within": {"latency_ms": [8, 3]}}]}, "from < to, got [8.0, 3.0]"),
        ({"adaptive": True, "shared": True}, "preferences.shared: adaptive"),
        ({"beta": [1, 2, 3]}, "preferences.beta: wanted one number, or 2"),
    ],
)
def test_bad_configurations_are_refused(preferences: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told.replace("[", r"\[")):
        make_config(preferences=preferences)


def test_normalised_regions_hold_the_same_networks() -> None:
    region = Region((EVERYWHERE, (2.0, 4.0)), (EVERYWHERE, EVERYWHERE))
    latency = torch.linspace(0.5, 6, 50)
    values = torch.stack([torch.full_like(latency, 9.0), latency], dim=-1)
    inside = region.outside(torch.rand(50, 2), values) == 0
    normal = torch.stack([values[:, 0], PHONE.normalize(latency)], dim=-1)
    assert torch.equal(region.normalized(PHONE).outside(torch.rand(50, 2), normal) == 0, inside)
    assert torch.equal(inside, (latency >= 2) & (latency <= 4))


def test_places_outside_of_a_region_count_less() -> None:
    region = Region((EVERYWHERE, (0.2, 0.4)), (EVERYWHERE, EVERYWHERE))
    costs = torch.tensor([[[0.3], [0.3]], [[0.9], [0.9]]])  # two networks on two devices
    assert emphasis(costs, [[region], []], 0.75).tolist() == [[1.0, 1.0], [0.25, 1.0]]
