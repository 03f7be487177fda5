"""Costs of networks on devices as a run's folder knows them: measured before tabulated before predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.devices import Device, embeddings
from modnas_fast.result.answers import Cost, Source
from modnas_fast.result.kept_table import kept_costs
from modnas_fast.spaces import SearchSpace

UNIT = "ms"


class KnownLatencies:
    """Latencies of networks on the devices of a run and on others, each with its source.

    A prediction is extrapolated where nothing judges it. On a device of the run: outside the range of the latencies
    measured there, of reference and held-out networks (of a table: of all its networks). On another device: outside
    the range of all devices of the run, in normalised units, or anywhere if the device is farther (by its embedding)
    from the nearest device of the run than any of these is from its own nearest. Results without ranges judge nothing.

    Args:
        content: of result.json.
        table: file of the run's table, which need not exist.
        space: of the run.
        devices: of the run, by name.
        written: whether networks were measured as they are written, see `GraphMetaPredictor`.
        predictor: called for the run's predictor when a prediction is needed.
    """

    def __init__(
        self,
        content: dict[str, Any],
        table: Path,
        space: SearchSpace,
        devices: dict[str, Device],
        written: bool,
        predictor: Callable[[], nn.Module],
    ) -> None:
        self._content = content
        self._table = table
        self._space = space
        self._devices = devices
        self._written = written
        self._predictor = predictor
        self._known: dict[str, dict[str, tuple[float, Source]]] = {}

    def __call__(self, device: Device, texts: Sequence[str], onehot: Tensor) -> list[Cost]:
        """The latency of each of n architectures, strings [n] and one-hots [n, N]."""
        known = self._known_on(device)
        unknown = [row for row, text in enumerate(texts) if text not in known]
        predicted = iter(self._predict(device, onehot[unknown]) if unknown else [])
        found = [known.get(text) or (next(predicted), "predicted") for text in texts]
        return [Cost(ms, UNIT, kind, kind == "predicted" and self._beyond(device, ms)) for ms, kind in found]

    @torch.no_grad()
    def _predict(self, device: Device, onehot: Tensor) -> list[float]:
        return device.denormalize(self._predictor()(onehot, embeddings([device]))).tolist()

    # ---- what is known ----

    def _known_on(self, device: Device) -> dict[str, tuple[float, Source]]:
        """(ms, source) by architecture of all that the run's files, or the device itself, tell."""
        if device != self._devices.get(device.name):
            return self._of_references(device, "measured")
        if device.name not in self._known:
            self._known[device.name] = self._from_files(device)
        return self._known[device.name]

    def _from_files(self, device: Device) -> dict[str, tuple[float, Source]]:
        entry = next(entry for entry in self._content["devices"] if entry["name"] == device.name)
        on_table = self._content.get("error_kind") == "true"
        listed: Source = "tabulated" if on_table else "predicted"
        points = {
            point["architecture"]: (point["latency_ms"], listed)
            for point in (*entry["rays"], *entry["random"])
            if point["latency_ms"] > 0  # earlier versions listed predictions below zero
        }
        if on_table:
            kept = {text: (ms, listed) for text, ms in kept_costs(self._table, device.name).items()}
            return {**self._of_references(device, listed), **points, **kept}
        measured = {
            network["architecture"]: network["latency_ms"][device.name]["measured"]
            for network in self._content.get("verified", [])
            if device.name in network.get("latency_ms", {})
        }
        measured |= entry.get("measured_latency_ms", {})
        return {
            **points,
            **self._of_references(device, "measured"),
            **{text: (ms, "measured") for text, ms in measured.items()},
        }

    def _of_references(self, device: Device, source: Source) -> dict[str, tuple[float, Source]]:
        """The reference networks, whose costs the embedding holds."""
        latencies = device.denormalize(torch.tensor(device.embedding, dtype=torch.float64)).tolist()
        return {text: (ms, source) for text, ms in zip(self._references, latencies)}

    @cached_property
    def _references(self) -> list[str]:
        """The reference networks as they were measured."""
        if self._written:
            return list(self._space.references)
        onehot = self._space.encode([self._space.parse(text) for text in self._space.references])
        return [architecture.text for architecture in self._space.decode(self._space.canonical(onehot))]

    # ---- where predictions are judged ----

    def _beyond(self, device: Device, latency_ms: float) -> bool:
        """Whether a predicted latency is extrapolated."""
        judged = self._judged
        if not judged:
            return False
        if device == self._devices.get(device.name):
            ranges = [judged[device.name]] if device.name in judged else []
        else:
            if self._distance_to_nearest(device) > self._largest_gap:
                return True
            ranges = list(judged.values())
        value = float(device.normalize(torch.tensor(latency_ms, dtype=torch.float64)))
        return bool(ranges) and not min(low for low, _ in ranges) <= value <= max(high for _, high in ranges)

    @cached_property
    def _judged(self) -> dict[str, tuple[float, float]]:
        """Per device of the run, lowest and highest judged cost in its normalised range."""
        found = {}
        for entry in self._content["devices"]:
            if "judged_latency_ms" in entry:
                judged = torch.tensor(entry["judged_latency_ms"], dtype=torch.float64)
                low, high = self._devices[entry["name"]].normalize(judged).tolist()
                found[entry["name"]] = (low, high)
        return found

    def _distance_to_nearest(self, device: Device) -> float:
        """Distance of a device's embedding to that of the nearest other device of the run."""
        others = [other for other in self._devices.values() if other != device]
        return min((math.dist(device.embedding, other.embedding) for other in others), default=0.0)

    @cached_property
    def _largest_gap(self) -> float:
        return max(self._distance_to_nearest(device) for device in self._devices.values())
