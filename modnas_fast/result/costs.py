"""Costs of networks on devices as a run's folder knows them: exact, measured, tabulated, else predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.cost_source import Source
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.result.answers import JUDGED_SLACK, Cost
from modnas_fast.result.content import listed_points
from modnas_fast.result.kept_table import kept_costs
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces import SearchSpace

#: (value, where it comes from) by architecture
Known = dict[str, tuple[float, Source]]


class BestCosts:
    """Costs of networks on the devices of a run and on others, each with its source.

    A prediction is extrapolated where nothing judges it. On a device of the run: outside the range of the costs known
    there, of reference and held-out networks (of a table: of all its networks). On another device: outside the range
    of all devices of the run, in normalised units, or anywhere if the device is farther (by its embedding) from the
    nearest device of the run than any of these is from its own nearest.

    Args:
        content: of result.json.
        table: file of the run's table, which need not exist.
        space: of the run.
        devices: of the run, by name.
        costs: the objectives behind the first.
        references: the reference networks as they were measured.
        model: called for the run's predictors when a prediction is needed.
        formulas: exact costs by name, float64 [n], of canonical one-hots [n, N].
    """

    def __init__(
        self,
        content: dict[str, Any],
        table: Path,
        space: SearchSpace,
        devices: dict[str, Device],
        costs: Sequence[Objective],
        references: Sequence[str],
        model: Callable[[], CostModel],
        formulas: Callable[[Tensor], dict[str, Tensor]],
    ) -> None:
        self._content = content
        self._table = table
        self._space = space
        self._devices = devices
        self._costs = costs
        self._references = references
        self._model = model
        self._formulas = formulas
        self._kinds: dict[str, Source] = content["cost_sources"]
        self._entries = {entry["name"]: entry for entry in content["devices"]}
        self._known: dict[tuple[str, str], Known] = {}
        #: exact costs by key and architecture
        self._listed: dict[str, dict[str, float]] = {}

    def __call__(self, device: Device, texts: Sequence[str], onehot: Tensor) -> list[dict[str, Cost]]:
        """The costs by key of each of n architectures, strings [n] and one-hots [n, N]."""
        keys = [cost.key for cost in self._costs]
        return [dict(zip(keys, row)) for row in zip(*self.columns(device, texts, onehot), strict=True)]

    def columns(self, device: Device, texts: Sequence[str], onehot: Tensor) -> list[list[Cost]]:
        """The same in the order of the costs, [C] lists of n."""
        return [self._column(device, cost, texts, onehot) for cost in self._costs]

    def _column(self, device: Device, cost: Objective, texts: Sequence[str], onehot: Tensor) -> list[Cost]:
        if self._kinds[cost.key] == "exact":
            return [Cost(value, cost.unit, "exact") for value in self._exact(cost, texts, onehot)]
        known = self._known_on(device, cost)
        unknown = [row for row, text in enumerate(texts) if text not in known]
        predicted = iter(self.predict(device, cost, onehot[unknown]) if unknown else [])
        listed = [known.get(text) or (next(predicted), "predicted") for text in texts]
        factor = self._correction(device, cost)
        found = [(factor * value if source == "predicted" else value, source) for value, source in listed]
        beyond = self.beyond(device, cost, [value for value, _ in found])
        doubt = self.doubt(device, cost)
        return [
            Cost(value, cost.unit, source, source == "predicted" and outside, doubt)
            for (value, source), outside in zip(found, beyond)
        ]

    def _correction(self, device: Device, cost: Objective) -> float:
        """What predictions on a device of the run are multiplied by since networks were measured there."""
        if device != self._devices.get(device.name):
            return 1.0
        return float(self._entries[device.name].get("corrections", {}).get(cost.key, 1.0))

    def doubt(self, device: Device, cost: Objective) -> str:
        """Why what was measured of a cost on a device of the run is not trustworthy; empty where it is."""
        if device != self._devices.get(device.name):
            return ""
        trust = self._entries[device.name].get("trust", {}).get(cost.key, {})
        return str(trust.get("why", ""))

    def _exact(self, cost: Objective, texts: Sequence[str], onehot: Tensor) -> list[float]:
        """As the run lists them, so that no network is built again; of other networks by formula."""
        if cost.key not in self._listed:
            self._listed[cost.key] = {
                point["architecture"]: point[cost.key]
                for entry in self._content["devices"]
                for point in listed_points(entry)
            }
        listed = self._listed[cost.key]
        new = [row for row, text in enumerate(texts) if text not in listed]
        values = iter(self._formulas(self._space.canonical(onehot[new]))[cost.name].tolist() if new else [])
        return [listed[text] if text in listed else next(values) for text in texts]

    @torch.no_grad()
    def predict(self, device: Device, cost: Objective, onehot: Tensor) -> list[float]:
        """What the run's predictors say of networks [n, N] on a device, in the unit of the cost, uncorrected."""
        normalized = self._model()(onehot, embeddings([device]))[:, list(device.metrics).index(cost.name)]
        return device.denormalize(normalized, cost.name).tolist()

    # ---- what is known ----

    def _known_on(self, device: Device, cost: Objective) -> Known:
        """All that the run's files, or the device itself, tell."""
        if device != self._devices.get(device.name):
            return self._of_references(device, cost, "measured")
        place = (device.name, cost.key)
        if place not in self._known:
            self._known[place] = self._from_files(device, cost)
        return self._known[place]

    def _from_files(self, device: Device, cost: Objective) -> Known:
        entry = self._entries[device.name]
        points: Known = {
            point["architecture"]: (point[cost.key], point.get("sources", {}).get(cost.key, "predicted"))
            for point in listed_points(entry)
        }
        kept: Known = {
            text: (value, "tabulated") for text, value in kept_costs(self._table, device.name, cost.key).items()
        }
        measured: Known = {
            text: (values[cost.key], "measured") for text, values in entry["measured"].items() if cost.key in values
        }
        return {**points, **self._of_references(device, cost, self._kinds[cost.key]), **kept, **measured}

    def _of_references(self, device: Device, cost: Objective, source: Source) -> Known:
        """The reference networks, whose costs the embedding holds."""
        width, column = len(self._references), list(device.metrics).index(cost.name)
        normalized = torch.tensor(device.embedding[column * width : (column + 1) * width], dtype=torch.float64)
        values = device.denormalize(normalized, cost.name).tolist()
        return {text: (value, source) for text, value in zip(self._references, values)}

    # ---- where predictions are judged ----

    def beyond(self, device: Device, cost: Objective, values: Sequence[float]) -> list[bool]:
        """Whether each of these costs is extrapolated if it is predicted."""
        judged = self.judged(cost)
        if not judged:
            return [False] * len(values)
        if device == self._devices.get(device.name):
            ranges = [judged[device.name]] if device.name in judged else []
        else:
            if self._distance_to_nearest(device) > self.largest_gap:
                return [True] * len(values)
            ranges = list(judged.values())
        if not ranges:
            return [False] * len(values)
        lowest, highest = min(low for low, _ in ranges), max(high for _, high in ranges)
        normalized = device.normalize(torch.tensor(values, dtype=torch.float64), cost.name).tolist()
        return [not lowest - JUDGED_SLACK <= value <= highest + JUDGED_SLACK for value in normalized]

    def judged(self, cost: Objective) -> dict[str, tuple[float, float]]:
        """Per device of the run, lowest and highest judged cost in its normalised range."""
        found = {}
        for entry in self._content["devices"]:
            if cost.key in entry["judged"]:
                judged = torch.tensor(entry["judged"][cost.key], dtype=torch.float64)
                low, high = self._devices[entry["name"]].normalize(judged, cost.name).tolist()
                found[entry["name"]] = (low, high)
        return found

    def _distance_to_nearest(self, device: Device) -> float:
        """Distance of a device's embedding to that of the nearest other device of the run."""
        others = [other for other in self._devices.values() if other != device]
        return min((math.dist(device.embedding, other.embedding) for other in others), default=0.0)

    @cached_property
    def largest_gap(self) -> float:
        """The largest distance of a device of the run to the nearest other one."""
        return max(self._distance_to_nearest(device) for device in self._devices.values())
