"""What a space's networks cost as sums over their parts, which were measured one by one on devices."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn


class PartTable(Protocol):
    """Costs of every network of a space, exact sums over its parts."""

    #: names of the devices
    devices: tuple[str, ...]
    #: units by name of the costs
    metrics: dict[str, str]

    def costs(self, device: str, onehot: Tensor) -> Tensor:
        """Costs [n, C], float64, of one-hots [n, N] on a device."""
        ...


class Part(NamedTuple):
    """A part of networks, or a whole one, to be measured: its name in a table, and the shape of one sample."""

    key: str
    module: nn.Module
    input_shape: tuple[int, ...]
