"""A device: its embedding, its normalised range."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modnas_fast.devices import Device, embeddings
from modnas_fast.runtime.errors import InputError

latency = st.floats(1e-3, 1e4)


def test_embedding_is_the_min_max_normalised_latency() -> None:
    device = Device.from_reference_latencies("phone", [4.0, 2.0, 10.0, 3.0], "unseen")
    assert device.embedding == (0.25, 0.0, 1.0, 0.125)
    assert (device.name, device.split, device.metrics) == ("phone", "unseen", {"latency": "ms"})
    assert device.ranges == {"latency": (2.0, 10.0)}


@given(st.lists(latency, min_size=2, max_size=10, unique=True), st.lists(st.floats(1e-3, 1e4), min_size=1))
def test_normalize_and_denormalize_are_inverse(references: list[float], shares: list[float]) -> None:
    device = Device.from_reference_latencies("d", references)
    values = min(references) * torch.tensor(shares, dtype=torch.float64)
    spread = max(references) - min(references)
    torch.testing.assert_close(device.denormalize(device.normalize(values)), values, rtol=1e-9, atol=1e-12 / spread)
    normalised = device.normalize(torch.tensor(references, dtype=torch.float64))
    torch.testing.assert_close(normalised, torch.tensor(device.embedding, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("references", [[1.0, 3.0], [0.2, 60.3], [5.0, 5.5], [1e-4, 2e4]])
def test_no_prediction_stands_for_a_cost_of_zero_or_less(references: list[float], dtype: torch.dtype) -> None:
    device = Device.from_reference_latencies("d", references)
    predictions = torch.linspace(-40, 5, 10_001, dtype=dtype)
    costs = device.denormalize(predictions)
    assert (costs > 0).all() and (costs.diff() >= 0).all(), "positive, and in the order of the predictions"
    assert (device.denormalize(torch.tensor([-1e6, -1e12, -1e20], dtype=dtype)) > 0).all()
    back = device.normalize(costs)
    floor = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(back, predictions, rtol=100 * torch.finfo(dtype).eps, atol=floor)


def test_the_range_is_a_line_down_to_the_cheapest_of_published_costs() -> None:
    low, high = 4.0, 124.0  # a phone whose runtime drops what has no influence: some networks take next to nothing
    device = Device.from_reference_latencies("phone", [low, high])
    costs = torch.tensor([0.003 * low, 0.0012 * low, 1.0, low, 50.0, 400.0], dtype=torch.float64)
    normalised = device.normalize(costs)
    assert torch.equal(normalised, (costs - low) / (high - low))
    assert torch.equal(device.denormalize(normalised), low + (high - low) * normalised)


def test_slope_and_value_are_continuous_where_the_line_ends() -> None:
    device = Device.from_reference_latencies("d", [1.0, 3.0])
    knee = (1 / 2000 - 1.0) / 2.0
    around = torch.tensor([knee - 1e-7, knee + 1e-7], dtype=torch.float64, requires_grad=True)
    costs = device.denormalize(around)
    costs.sum().backward()
    assert costs.tolist() == pytest.approx([1 / 2000] * 2, abs=1e-6)
    assert around.grad.tolist() == pytest.approx([2.0, 2.0], rel=1e-2)
    far = torch.tensor([-3.0, 7.0], requires_grad=True)
    device.denormalize(far).sum().backward()
    assert far.grad[0] > 0 and far.grad[1] == 2.0


def test_what_is_no_cost_has_no_place_in_the_range() -> None:
    device = Device.from_reference_latencies("d", [1.0, 3.0])
    assert device.normalize(torch.tensor([0.0, -2.0])).tolist() == [-float("inf")] * 2


def test_normalize_by_hand() -> None:
    device = Device.from_reference_latencies("d", [2.0, 10.0])
    values = torch.tensor([2.0, 6.0, 14.0])
    assert device.normalize(values).tolist() == [0.0, 0.5, 1.5]
    assert device.denormalize(torch.tensor([0.0, 0.5, 1.5])).tolist() == [2.0, 6.0, 14.0]
    assert values.tolist() == [2.0, 6.0, 14.0]


@pytest.mark.parametrize(
    ("latencies", "message"),
    [
        ([1.0, 0.0], "device phone: latencies must be positive"),
        ([1.0, -2.0], "must be positive"),
        ([1.0, float("nan")], "must be positive"),
        ([1.0, float("inf")], "must be positive"),
        ([3.0, 3.0, 3.0], "device phone: all 3 reference latencies are 3.0 ms; they must differ"),
    ],
)
def test_bad_latencies_name_the_device(latencies: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Device.from_reference_latencies("phone", latencies)


def test_embeddings_are_stacked_in_order() -> None:
    devices = [Device.from_reference_latencies(name, values) for name, values in (("a", [1, 2]), ("b", [4, 3]))]
    assert torch.equal(embeddings(devices), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert embeddings(devices).dtype == torch.float32


# ---- several metrics ----


def test_embeddings_of_metrics_stand_in_a_row() -> None:
    units = {"latency": "ms", "energy": "mJ"}
    device = Device.from_references("board", {"latency": [4, 2, 10], "energy": [7, 9, 8]}, units, "unseen")
    assert device.embedding == (0.25, 0.0, 1.0, 0.0, 1.0, 0.5)
    assert (device.split, device.metrics) == ("unseen", units)
    assert device.ranges == {"latency": (2.0, 10.0), "energy": (7.0, 9.0)}
    assert device.normalize(torch.tensor([8.0]), "energy").tolist() == [0.5]
    assert device.denormalize(torch.tensor([0.5]), "energy").tolist() == [8.0]
    assert device.normalize(torch.tensor([8.0])).tolist() == [0.75]


@pytest.mark.parametrize(
    ("energies", "message"),
    [
        ([1.0, 0.0], "device board: values of energy must be positive numbers in mJ"),
        ([2.0, 2.0], "device board: all 2 reference values of energy are 2.0 mJ; they must differ"),
    ],
)
def test_bad_values_name_device_and_metric(energies: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Device.from_references("board", {"latency": [1, 2], "energy": energies}, {"latency": "ms", "energy": "mJ"})
