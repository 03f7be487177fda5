"""The saved answer of a run, and its queries: no supernet and no data set needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.config import validate
from modnas_fast.devices import Device, embeddings
from modnas_fast.evaluation.fronts import front
from modnas_fast.method.preferences import rays
from modnas_fast.predictors.graph_predictor import Executes
from modnas_fast.predictors.make import make_metapredictor
from modnas_fast.result.answers import Cost, FrontPoint, Pick
from modnas_fast.result.content import SCHEMA, ErrorKind
from modnas_fast.result.costs import KnownLatencies
from modnas_fast.result.folder import CONFIG_FILE, HYPERNETWORK_FILE, PREDICTOR_FILE, RESULT_FILE, TABLE_FILE
from modnas_fast.result.kept_table import kept_errors
from modnas_fast.runtime.checkpoint import load_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.suggestions import did_you_mean
from modnas_fast.search.bilevel import initial_hypernet
from modnas_fast.spaces import Architecture, make_space
from modnas_fast.tasks.task_objective import network_arguments


class Result:
    """What one run found. `Result.load(run)` reads it from the run's folder.

    A device is named by its name in `devices`, or given as a `Device` that the search never saw, made from ten
    measured latencies by `Device.from_reference_latencies` (zero-shot).
    """

    def __init__(self, run: Path, content: dict[str, Any]) -> None:
        self.run = run
        self.content = content
        self._config = validate(content["configuration"])
        self.space = make_space(content["space"]["name"], self._config.space.options)

    @classmethod
    def load(cls, run: Path | str) -> Result:
        """The result in the folder `run`. Raises InputError where the run is missing, unfinished or damaged."""
        path = Path(run) / RESULT_FILE
        if not path.exists():
            hint = "continue it with --resume" if (Path(run) / CONFIG_FILE).exists() else "is that a run folder?"
            raise InputError(f"{path} does not exist: {hint}")
        try:
            content = read_json(path)
            schema = content["schema"]
            if schema == SCHEMA:
                result = cls(Path(run), content)
                if result.devices and result._errors:
                    return result
                raise ValueError("no devices")
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path} is damaged; delete it and make it again with --resume {run}") from None
        raise InputError(f"{path} has schema {schema}, this version reads {SCHEMA}")

    @property
    def error_kind(self) -> ErrorKind:
        """What the run's errors are: `"inherited"` from a supernet, or `"true"` ones of a table."""
        return self.content.get("error_kind", "inherited")

    @cached_property
    def devices(self) -> dict[str, Device]:
        """The devices of the run by name: those searched and those held out."""
        return {
            entry["name"]: Device(
                entry["name"],
                tuple(entry["embedding"]),
                dict(entry["metrics"]),
                entry["split"],
                {"latency": tuple(entry["latency_range_ms"])},
            )
            for entry in self.content["devices"]
        }

    def device(self, name: str) -> Device:
        """The device of the run that is called `name`. Raises InputError, with the closest names, where none is."""
        if name not in self.devices:
            hint = did_you_mean(name, self.devices)
            raise InputError(f"device: unknown device {name!r}; {hint}this run has {', '.join(self.devices)}")
        return self.devices[name]

    def front(self, device: str | Device) -> list[FrontPoint]:
        """Distinct non-dominated networks on a device by rising latency: of its rays, for a new device of new rays.

        Latencies are the best known, as in `pick`. Networks whose error the run does not know are left out.
        """
        device = self._device(device)
        if device == self.devices.get(device.name):
            chosen = [(ray["architecture"], tuple(ray["preference"])) for ray in self._entry(device)["rays"]]
        else:
            preferences = rays(self._config.evaluation.rays, 2).tolist()
            chosen = [(self.pick(device, preference=r).text, tuple(r)) for r in preferences]
        errors = [self._error(text) for text, _ in chosen]
        onehot = self.space.encode([self.space.parse(text) for text, _ in chosen])
        costs = self._latencies(device, [text for text, _ in chosen], onehot)
        return front(
            [
                FrontPoint(text, (error, cost.value), preference, cost.source, cost.extrapolated)
                for (text, preference), error, cost in zip(chosen, errors, costs)
                if error is not None
            ]
        )

    def pick(
        self,
        device: str | Device,
        *,
        preference: Sequence[float] | None = None,
        max: dict[str, float] | None = None,
    ) -> Pick:
        """The network for a device and either a preference or a budget.

        Args:
            device: name or device.
            preference: weights of (error, latency), at least 0, with a positive sum; they are divided by it.
            max: budget per metric, such as {"latency_ms": 5.0}: of all networks that the run evaluated, the one of
                least error whose cost is within it.

        A cost is the measured one where the network was measured on the device, else a table's, else predicted.
        Raises InputError for an unknown device, a bad preference, an unknown metric or a budget that no network meets.
        """
        device = self._device(device)
        if preference is not None and max is None:
            return self._pick_preferred(device, preference)
        if max is not None and preference is None:
            return self._pick_within(device, max)
        raise InputError("pick: give either preference or max")

    def build(self, architecture: Architecture | str) -> nn.Module:
        """The architecture as an untrained network for the run's task: images in, logits [B, classes] out."""
        if isinstance(architecture, str):
            architecture = self.space.parse(architecture)
        task = self.content["task"]
        network = {"image_channels": task["image"][0], "classes": task["classes"], "input_shape": tuple(task["image"])}
        arguments = network_arguments(self._config, network)
        return self.space.build(self.space.architecture(architecture.indices), **arguments)

    @torch.no_grad()
    def _pick_preferred(self, device: Device, preference: Sequence[float]) -> Pick:
        r = _simplex(preference, len(self.content["objectives"]))
        logits = self._hypernet(r[None], embeddings([device]))
        onehot = self.space.canonical(self.space.viable_mode(logits))
        (architecture,) = self.space.decode(onehot)
        (cost,) = self._latencies(device, [architecture.text], onehot)
        return self._describe(device, architecture, cost)

    def _pick_within(self, device: Device, budget: dict[str, float]) -> Pick:
        if set(budget) != {"latency_ms"}:
            raise InputError(f"max: wanted a budget of latency_ms, got {', '.join(budget) or 'nothing'}")
        limit = float(budget["latency_ms"])
        if math.isnan(limit):
            raise InputError("max: latency_ms must be a number, got nan")
        texts = list(self._errors)
        onehot = self.space.encode([self.space.parse(text) for text in texts])
        costs = self._latencies(device, texts, onehot)
        within = [
            (self._errors[text], cost.value, row)
            for row, (text, cost) in enumerate(zip(texts, costs))
            if cost.value <= limit
        ]
        if not within:
            fastest = min(costs, key=lambda cost: cost.value)
            takes = "is predicted to take" if fastest.source == "predicted" else "takes"
            raise InputError(
                f"max: no evaluated network takes at most {limit:g} ms on {device.name}; the fastest {takes} "
                f"{fastest.value:.4g} ms"
            )
        row = min(within)[2]
        return self._describe(device, self.space.parse(texts[row]), costs[row])

    def _describe(self, device: Device, architecture: Architecture, cost: Cost) -> Pick:
        error = self._error(architecture.text)
        return Pick(architecture.indices, architecture.text, device.name, {"latency_ms": cost}, error, self.error_kind)

    def _error(self, text: str) -> float | None:
        """Error in percent of an architecture: as the run evaluated it, else as its table has it."""
        return self._errors[text] if text in self._errors else self._table_errors.get(text)

    @cached_property
    def _table_errors(self) -> dict[str, float]:
        return kept_errors(self.run / TABLE_FILE) if self.error_kind == "true" else {}

    @cached_property
    def _latencies(self) -> KnownLatencies:
        return KnownLatencies(
            self.content,
            self.run / TABLE_FILE,
            self.space,
            self.devices,
            written=self._config.devices.table is not None,
            predictor=lambda: self._predictor,
        )

    @cached_property
    def _errors(self) -> dict[str, float]:
        """Error in percent of every architecture that the run evaluated."""
        return {
            point["architecture"]: point["error"]
            for entry in self.content["devices"]
            for point in (*entry["rays"], *entry["random"])
        }

    @property
    def _embedding_width(self) -> int:
        return len(self.content["devices"][0]["embedding"])

    @cached_property
    def _hypernet(self) -> nn.Module:
        hypernet = initial_hypernet(self._config, self.space, self._embedding_width)
        load_weights(self.run / HYPERNETWORK_FILE, hypernet)
        return hypernet

    @cached_property
    def _predictor(self) -> nn.Module:
        executes: Executes = "live" if self._config.devices.table is None else "written"
        predictor = make_metapredictor(
            self._config.predictor, self.space, self._embedding_width, torch.Generator(), executes
        )
        load_weights(self.run / PREDICTOR_FILE, predictor)
        return predictor

    def _device(self, device: str | Device) -> Device:
        if isinstance(device, str):
            return self.device(device)
        if len(device.embedding) != self._embedding_width:
            raise InputError(
                f"device {device.name}: wanted an embedding of {self._embedding_width} reference networks, got "
                f"{len(device.embedding)}"
            )
        return device

    def _entry(self, device: Device) -> dict[str, Any]:
        return next(entry for entry in self.content["devices"] if entry["name"] == device.name)


def _simplex(preference: Sequence[float], objectives: int) -> Tensor:
    values = [float(value) for value in preference]
    if len(values) != objectives:
        raise InputError(f"preference: wanted {objectives} weights, got {len(values)}")
    if not all(0 <= value < float("inf") for value in values) or sum(values) <= 0:
        raise InputError(f"preference: wanted weights of at least 0 with a positive sum, got {values}")
    return torch.tensor(values) / sum(values)
