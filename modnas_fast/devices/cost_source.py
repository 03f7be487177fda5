"""Where the costs of networks on devices come from: the contract, and what is known of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from modnas_fast.devices.device import Device, Split
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces import SearchSpace

#: where a number comes from: a measurement of this machine, a table, an exact formula, a model fitted to all of a
#: table that a search may not know, or a MetaPredictor
Source = Literal["measured", "tabulated", "exact", "judged", "predicted"]
#: which network was measured: the one that was written down, or what is left of it without choices of no influence
Executes = Literal["written", "live"]
#: costs of one network in the units of the metrics, [C]
Values = tuple[float, ...]


class Judging(NamedTuple):
    """Networks that judge predictions on a device."""

    #: strings of the space, or what rows of a table are called
    names: list[str]
    #: one-hots or relaxed samples, [n, N]
    onehot: Tensor
    #: costs in the units of the metrics, float64 [n, C]
    values: Tensor


class KnownCosts:
    """Costs of networks on devices in the units of the metrics, where they are known.

    >>> known = KnownCosts(["phone"])
    >>> known.add("phone", "a", (1.5,))
    >>> known.on("phone"), known.texts
    ({'a': (1.5,)}, ['a'])
    """

    def __init__(self, devices: Iterable[str]) -> None:
        self._values: dict[str, dict[str, Values]] = {device: {} for device in devices}

    def add(self, device: str, text: str, values: Values) -> None:
        """Takes in the costs of a network on a device."""
        self._values[device][text] = values

    def on(self, device: str) -> Mapping[str, Values]:
        """Costs by network on a device."""
        return self._values[device]

    @property
    def texts(self) -> list[str]:
        """Every network that is known on some device, in the order in which they came."""
        return list(dict.fromkeys(text for values in self._values.values() for text in values))

    def normalized(self, devices: Sequence[Device], texts: Sequence[str]) -> Tensor:
        """Costs in the devices' normalised ranges, float32 [n, T, C]; NaN where they are not known."""
        columns = []
        for device in devices:
            known, unknown = self._values[device.name], (float("nan"),) * len(device.metrics)
            values = torch.tensor([known.get(text, unknown) for text in texts], dtype=torch.float64)
            values = values.reshape(len(texts), len(device.metrics))
            normal = [device.normalize(v, metric) for v, metric in zip(values.unbind(-1), device.metrics, strict=True)]
            columns.append(torch.stack(normal, dim=-1))
        return torch.stack(columns, dim=1).float()


class CostSource(ABC):
    """The devices of a run, and what may be known of networks' costs on them.

    A run calls `begin` (or `restore`) first, then `measure` as often as `limit` allows, and `finish` behind the search.
    """

    space: SearchSpace
    #: units by name, in the order of the objectives
    metrics: dict[str, str]
    #: by metric, where the numbers come from
    kinds: dict[str, Source]
    #: by name of a device, search devices first
    splits: dict[str, Split]
    executes: Executes
    #: networks that may be measured on the search devices in all; 0: no others than those of `begin`
    limit: int = 0
    #: whether costs of all networks of the space are at hand, though the search may not know them
    complete: bool = False
    #: whether costs of networks that are not at hand are judged
    judges: bool = False
    #: whether costs are known of rows, relaxed samples, and of networks none but the references, as estimates
    by_rows: bool = False
    #: networks whose costs stand in a table
    tabulated: Sequence[str] = ()

    @abstractmethod
    def begin(self, reporter: Reporter) -> None:
        """Learns what a search rests on, the reference networks on every device at least."""

    def measure(self, onehot: Tensor) -> None:  # noqa: B027 - most sources know at once all that they may
        """Learns the costs on the search devices of those of the networks [n, N] that are new, up to `limit` in all."""

    def finish(self, chosen: Sequence[str], reporter: Reporter) -> None:  # noqa: B027 - a table learns no more
        """Learns what judges the answer: the chosen networks on all devices, as far as there is a way."""

    @property
    @abstractmethod
    def known(self) -> KnownCosts:
        """What the search may know."""

    @abstractmethod
    def judging(self, device: str) -> Mapping[str, Values]:
        """Networks with their costs on a device that judge predictions there."""

    def judged_by(self, device: str) -> Judging:
        """The same as one-hots and numbers."""
        judging = self.judging(device)
        values = torch.tensor(list(judging.values()), dtype=torch.float64).reshape(len(judging), len(self.metrics))
        onehot = self.space.encode([self.space.parse(text) for text in judging])
        return Judging(list(judging), onehot, values)

    def count_known(self, device: str) -> int:
        """On how many networks, or rows, of a device a search may rest."""
        return len(self.known.on(device))

    @property
    def held_out(self) -> frozenset[str]:
        """Networks of `known` that no predictor is trained on."""
        return frozenset()

    def candidates(self, count: int, generator: torch.Generator) -> Tensor:
        """Networks that may be measured, canonical one-hots [n, N]: all, or a sample of about `count`."""
        return self.space.candidates(count, generator)

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniformly random networks of those, as they are written, one-hots [count, N]."""
        return self.space.sample(count, generator)

    def listed(self, device: str, texts: Sequence[str]) -> Tensor:
        """Costs that stand in an answer, float64 [n, C]; NaN where a prediction does."""
        return torch.full((len(texts), len(self.metrics)), float("nan"), dtype=torch.float64)

    @property
    def listed_as(self) -> dict[str, Source]:
        """By metric, where the numbers of `listed` come from."""
        return dict.fromkeys(self.metrics, "judged") if self.judges else dict(self.kinds)

    def table_costs(self, device: str) -> Tensor:
        """Costs [n, C], float64, of the networks that are `tabulated`, as the table has them."""
        return self.listed(device, self.tabulated)

    def found(self, device: str) -> Mapping[str, Values]:
        """Measurements to be kept beside the answer."""
        return {}

    def noise(self, device: str) -> dict[str, float]:
        """Relative noise of one measurement by metric, where it is known."""
        return {}

    def doubts(self, device: str) -> dict[str, str]:
        """By metric that was measured: why its measurements are not trustworthy, in words; empty where they are."""
        return {}

    @property
    def notes(self) -> list[str]:
        """What a reader of the answer should know of its costs, in words."""
        return []

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain values for JSON that `restore` needs to be where this is."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken. Raises KeyError, TypeError or ValueError where it is damaged."""

    # ---- what all sources share ----

    @property
    def search_names(self) -> list[str]:
        """Names of the devices searched."""
        return [name for name, split in self.splits.items() if split == "search"]

    @property
    def references(self) -> list[str]:
        """The space's reference networks as they are measured."""
        if self.executes == "written":
            return list(self.space.references)
        onehot = self.space.encode([self.space.parse(text) for text in self.space.references])
        return [architecture.text for architecture in self.space.decode(self.space.canonical(onehot))]

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices, search devices first, embedded by the costs of the reference networks."""
        references, found = self.references, []
        for name, split in self.splits.items():
            columns = zip(*(self.known.on(name)[text] for text in references))
            found.append(Device.from_references(name, dict(zip(self.metrics, columns)), self.metrics, split))
        return tuple(found)

    @property
    def search_devices(self) -> tuple[Device, ...]:
        """The devices searched."""
        return tuple(device for device in self.devices if device.split == "search")

    def training_table(self) -> tuple[Tensor, Tensor]:
        """What predictors learn from: one-hots [n, N], and costs in normalised ranges [n, T, C], NaN where unknown."""
        devices, held_out = self.search_devices, self.held_out
        texts = [
            text
            for text in self.known.texts
            if text not in held_out and any(text in self.known.on(device.name) for device in devices)
        ]
        onehot = self.space.encode([self.space.parse(text) for text in texts])
        return onehot, self.known.normalized(devices, texts)
