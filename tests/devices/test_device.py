"""A device: its embedding, its normalised range."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modnas_fast.devices import Device, embeddings
from modnas_fast.errors import InputError

latency = st.floats(1e-3, 1e4)


def test_embedding_is_the_min_max_normalised_latency() -> None:
    device = Device.from_reference_latencies("phone", [4.0, 2.0, 10.0, 3.0], "unseen")
    assert device.embedding == (0.25, 0.0, 1.0, 0.125)
    assert (device.name, device.split, device.metrics) == ("phone", "unseen", {"latency": "ms"})
    assert device.ranges == {"latency": (2.0, 10.0)}


@given(st.lists(latency, min_size=2, max_size=10, unique=True), st.lists(st.floats(-1e4, 1e4), min_size=1))
def test_normalize_and_denormalize_are_inverse(references: list[float], values: list[float]) -> None:
    device = Device.from_reference_latencies("d", references)
    values = torch.tensor(values, dtype=torch.float64)
    spread = max(references) - min(references)
    back = device.denormalize(device.normalize(values))
    torch.testing.assert_close(back, values, atol=1e-10 * (1 + 1e4 / spread), rtol=1e-9)
    normalised = device.normalize(torch.tensor(references, dtype=torch.float64))
    torch.testing.assert_close(
        normalised, torch.tensor(device.embedding, dtype=torch.float64), atol=1e-9, rtol=0
    )


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
    devices = [
        Device.from_reference_latencies(name, values) for name, values in (("a", [1, 2]), ("b", [4, 3]))
    ]
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
        Device.from_references(
            "board", {"latency": [1, 2], "energy": energies}, {"latency": "ms", "energy": "mJ"}
        )
