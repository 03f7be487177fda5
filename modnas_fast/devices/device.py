"""A target device as the search sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:  # a finished run is asked without torch
    from torch import Tensor

Split = Literal["search", "unseen"]
#: share of the cheapest reference network's cost down to which the normalised range is linear: below every cost of the
#: published tables, where networks without an operation take three thousandths of it
LINEAR_DOWN_TO = 1 / 2000


@dataclass(frozen=True)
class Device:
    """A device setting: what it is called, how it is embedded, what was measured on it and in which unit.

    `embedding` [E] holds the values of the reference networks, min-max normalised over them, metric by metric, and
    `ranges` the (low, high) value per metric that maps back: value = low + (high − low) · normalised (HELP, Lee et al.
    2021) down to `LINEAR_DOWN_TO`; below it continues so that no normalised value stands for a cost of 0 or less.
    """

    name: str
    embedding: tuple[float, ...]
    metrics: dict[str, str] = field(default_factory=lambda: {"latency": "ms"})
    split: Split = "search"
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def from_reference_latencies(cls, name: str, latencies_ms: Sequence[float], split: Split = "search") -> Device:
        """The device on which the reference networks of a space take `latencies_ms`.

        Raises InputError when a value is no positive number or all are equal.

        >>> Device.from_reference_latencies("phone", [1.0, 2.0, 3.0]).embedding
        (0.0, 0.5, 1.0)
        """
        return cls.from_references(name, {"latency": latencies_ms}, {"latency": "ms"}, split)

    @classmethod
    def from_references(
        cls, name: str, values: dict[str, Sequence[float]], units: dict[str, str], split: Split = "search"
    ) -> Device:
        """The device on which the reference networks cost `values` per metric; several embeddings stand in a row.

        Raises InputError when a value is no positive number or all of a metric are equal.

        >>> Device.from_references("phone", {"latency": [1, 3], "energy": [4, 2]}, {"latency": "ms", "energy": "mJ"})
        Device(name='phone', embedding=(0.0, 1.0, 1.0, 0.0), ..., ranges={'latency': (1.0, 3.0), 'energy': (2.0, 4.0)})
        """
        embedding: list[float] = []
        ranges = {}
        for metric, measured in values.items():
            numbers = [float(value) for value in measured]
            what = "latencies" if metric == "latency" else f"values of {metric}"
            if not all(0 < value < float("inf") for value in numbers):
                unit = f" in {units[metric]}" if units[metric] else ""
                raise InputError(f"device {name}: {what} must be positive numbers{unit}, got {numbers}")
            low, high = ranges[metric] = min(numbers), max(numbers)
            if high == low:
                same = f"{low} {units[metric]}".rstrip()
                raise InputError(f"device {name}: all {len(numbers)} reference {what} are {same}; they must differ")
            embedding += [(value - low) / (high - low) for value in numbers]
        return cls(name, tuple(embedding), dict(units), split, ranges)

    def normalize(self, value: Tensor, metric: str = "latency") -> Tensor:
        """Metric values in the device's normalised range: 0 and 1 are the extremes of its reference networks.

        Values are positive; 0 and what is below it has no place in the range: −inf.
        """
        low, high = self.ranges[metric]
        knee = low * LINEAR_DOWN_TO
        continued = knee * (2 - (knee / value.clamp(0, knee) - 1).exp())
        return (continued.where(value < knee, value) - low) / (high - low)

    def denormalize(self, value: Tensor, metric: str = "latency") -> Tensor:
        """The inverse of `normalize`: positive values in the metric's unit, whatever a predictor says.

        Rising and smooth, so that the order of predictions stays: where the line l = low + (high − low) · value falls
        below the knee k, it continues as k / (1 + log(1 + (k − l) / k)), of the same value and slope there.

        >>> import torch
        >>> Device.from_reference_latencies("phone", [1.0, 3.0]).denormalize(torch.tensor([0.5, -0.25, -9.0]))
        tensor([2.0000e+00, 5.0000e-01, 4.3729e-05])
        """
        low, high = self.ranges[metric]
        knee = low * LINEAR_DOWN_TO
        linear = low + (high - low) * value
        continued = knee / (1 + ((knee - linear.clamp(max=knee)) / knee).log1p())
        return continued.where(linear < knee, linear)


def embeddings(devices: Sequence[Device]) -> Tensor:
    """Embeddings of the devices, float32 [T, E]."""
    import torch

    return torch.tensor([device.embedding for device in devices])
