"""A result's queries from answers.npz, with NumPy alone; `queries_reference` is their reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from modnas_fast.devices.device import Device
from modnas_fast.result.answers import Cost, Pick
from modnas_fast.result.answers_file import SOURCES, AnswersFile, Array
from modnas_fast.result.hypernetworks import Logits, logits_on
from modnas_fast.result.new_device import Costs, costs_on_new_device
from modnas_fast.runtime.objective import Objective

#: devices that the run never saw, whose costs are kept at hand
NEW_DEVICES = 64


class OnDevice:
    """What questions about one device need, worked out at the first of them.

    Args:
        file: of the run.
        device: of the run or new.
        place: its row in the file; None for a new device.
        costs: objectives behind the first.
    """

    def __init__(self, file: AnswersFile, device: Device, place: int | None, costs: tuple[Objective, ...]) -> None:
        self._file = file
        self.device = device
        self.place = place
        self._objectives = costs
        self._costs: dict[str, Costs] = {}
        self.doubts: dict[str, str] = {} if place is None else file.header["devices"][place]["doubts"]
        """By key, why what was measured there is not trustworthy; empty where it is."""

    def costs(self, block: str) -> Costs:
        """Costs of the networks of a block."""
        if block not in self._costs:
            if self.place is None:
                self._costs[block] = costs_on_new_device(self._file, block, self.device, self._objectives)
            else:
                parts = (self._file[f"{block}.{name}"][self.place] for name in ("costs", "source", "extrapolated"))
                self._costs[block] = Costs(*parts)
        return self._costs[block]

    @cached_property
    def by_quality(self) -> Array:
        """Costs of the evaluated networks in the order of their qualities, [C, n]."""
        order = self._file["networks.order"]
        return np.ascontiguousarray(self.costs("networks").value[order].T)

    @cached_property
    def logits(self) -> Logits:
        """The hypernetwork on this device."""
        return logits_on(self._file, np.array(self.device.embedding, np.float32))


class FileQueries:
    """Answers from an open answers.npz.

    Args:
        file: of the run.
        objectives: of the run.
        devices: of the run, by name.
    """

    def __init__(self, file: AnswersFile, objectives: Sequence[Objective], devices: dict[str, Device]) -> None:
        self._file = file
        self._quality, *rest = objectives
        self._costs = tuple(rest)
        self._column = {cost.key: column for column, cost in enumerate(rest)}
        self._devices = devices
        self._place = {name: place for place, name in enumerate(devices)}
        self._known: dict[str, OnDevice] = {}
        self._new: dict[tuple[Any, ...], OnDevice] = {}

    def lacks(self, device: Device, preference: bool) -> str | None:
        """Why the file cannot answer a question, by preference or by budget; None where it can."""
        reasons: dict[str, str | None] = self._file.header["needs_torch"]
        if preference and reasons["preferences"]:
            return reasons["preferences"]
        if device == self._devices.get(device.name):
            return None
        if list(device.metrics) != [cost.name for cost in self._costs]:
            return "the device has its metrics in another order than the run"
        return reasons["new_devices"]

    # ---- what a result asks ----

    def preferred(self, device: Device, preference: Sequence[float]) -> Pick:
        """The network of a preference, weights that are divided by their sum."""
        on_device = self._on(device)
        r = np.array(preference, np.float32) / np.float32(sum(preference))
        return self._pick(on_device, int(self._file["space.canonical"][self._viable_mode(on_device.logits(r))]))

    def within(self, device: Device, limits: Mapping[str, float], count: int) -> list[Pick]:
        """The best `count` of the evaluated networks whose costs by key are within the limits."""
        on_device = self._on(device)
        columns = [on_device.by_quality[self._column[key]] for key in limits]
        fits = np.logical_and.reduce([column <= limit for column, limit in zip(columns, limits.values())])
        places = np.flatnonzero(fits)
        order = self._file["networks.order"]
        if len(places) > count:
            quality = self._sorted_quality
            places = places[: np.searchsorted(quality[places], quality[places[count - 1]], "right")]
        if len(places) > 1:
            rows = [(self._sorted_quality[p], [column[p] for column in columns], order[p]) for p in places]
            return [self._pick(on_device, int(row)) for *_, row in sorted(rows)[:count]]
        return [self._pick(on_device, int(order[place])) for place in places]

    def evaluated(self, device: Device) -> list[Pick]:
        """Every network that the run evaluated."""
        on_device = self._on(device)
        return [self._pick(on_device, row) for row in range(len(self._texts))]

    def listed(self, device: Device, texts: Sequence[str]) -> list[Pick]:
        """These networks, which the run evaluated."""
        on_device = self._on(device)
        return [self._pick(on_device, self._row_of[text]) for text in texts]

    def rays(self, device: Device) -> list[tuple[str, tuple[float, ...]]]:
        """Network and preference of each ray of the run on one of its devices."""
        place = self._place[device.name]
        rows, weights = self._file["rays.network"][place].tolist(), self._file["rays.preference"][place].tolist()
        return [(self._texts[row], tuple(r)) for row, r in zip(rows, weights)]

    def archive(self, device: Device) -> list[str]:
        """What else the search found for one of the run's devices."""
        if "archive.network" not in self._file:  # an older file
            return []
        of_device = self._file["archive.device"] == self._place[device.name]
        return [self._texts[row] for row in self._file["archive.network"][of_device].tolist()]

    @cached_property
    def preferences(self) -> list[tuple[float, ...]]:
        """Those of the evaluation, for a device that has no rays yet."""
        return [tuple(r) for r in self._file["preferences"].tolist()]

    @property
    def references(self) -> tuple[str, ...]:
        """The space's reference networks."""
        return tuple(self._file.header["references"])

    @property
    def exact_references(self) -> dict[str, list[float]]:
        """By key, the exact costs of the reference networks."""
        found: dict[str, list[float]] = self._file.header["exact_references"]
        return found

    # ---- rows of the file ----

    def _on(self, device: Device) -> OnDevice:
        if device == self._devices.get(device.name):
            if device.name not in self._known:
                self._known[device.name] = OnDevice(self._file, device, self._place[device.name], self._costs)
            return self._known[device.name]
        key = (device.name, *device.embedding, *((name, *ends) for name, ends in device.ranges.items()))
        if key not in self._new:
            if len(self._new) == NEW_DEVICES:
                self._new.clear()
            self._new[key] = OnDevice(self._file, device, None, self._costs)
        return self._new[key]

    def _pick(self, on_device: OnDevice, row: int) -> Pick:
        """The network of a row, those of others behind the evaluated ones."""
        block, evaluated = "networks", len(self._texts)
        if row >= evaluated:
            block, row = "others", row - evaluated
        value, source, extrapolated = (array[row].tolist() for array in on_device.costs(block))
        doubts = on_device.doubts
        costs = {
            key: Cost(
                value[column],
                self._costs[column].unit,
                SOURCES[source[column]],
                extrapolated[column],
                doubts.get(key, ""),
            )
            for key, column in self._column.items()
        }
        quality = float(self._file[f"{block}.quality"][row])
        return Pick(
            tuple(self._file[f"{block}.indices"][row].tolist()),
            self._texts[row] if block == "networks" else str(self._file["others.text"][row]),
            on_device.device.name,
            costs,
            None if quality != quality else quality,
            self._file.header["quality_kind"],
            self._quality,
            self._measures(row) if block == "networks" else {},
        )

    def _measures(self, row: int) -> dict[str, float]:
        """By name, of an evaluated network; empty where the run took none of it."""
        names = self._file.header.get("measures", [])
        values = self._file["networks.measures"][row].tolist() if names else []
        return {name: value for name, value in zip(names, values) if value == value}

    @cached_property
    def _texts(self) -> list[str]:
        """Of the evaluated networks."""
        texts: list[str] = self._file["networks.text"].tolist()
        return texts

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self._texts)}

    @cached_property
    def _sorted_quality(self) -> Array:
        return np.asarray(self._file["networks.quality"][self._file["networks.order"]])

    # ---- the most probable network ----

    @cached_property
    def _sizes(self) -> list[int]:
        return [len(choice["options"]) for choice in self._file.header["space"]["choices"]]

    @cached_property
    def _strides(self) -> list[int]:
        """What a step in each choice adds to the number of a combination; the last choice is the quickest."""
        strides = [1]
        for size in reversed(self._sizes[1:]):
            strides.insert(0, strides[0] * size)
        return strides

    def _viable_mode(self, logits: Array) -> int:
        """The number of the most probable combination; where it is not viable, of the best change of one choice."""
        flat, begin, groups = 0, 0, []
        values = logits.tolist()
        for size, stride in zip(self._sizes, self._strides):
            group = values[begin : begin + size]
            best = group.index(max(group))
            groups.append((group, best, stride))
            flat += best * stride
            begin += size
        viable = self._file["space.viable"]
        if viable[flat]:
            return flat
        changes = [
            (group[option] - group[best], flat + (option - best) * stride)
            for group, best, stride in groups
            for option in range(len(group))
        ]
        helping = [change for change in changes if viable[change[1]]]
        return max(helping, key=lambda change: change[0])[1] if helping else flat
