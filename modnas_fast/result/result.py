"""The saved answer of a run, and its queries: no supernet and no data set needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.config import validate
from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.metric import ExactCosts
from modnas_fast.evaluation.fronts import front
from modnas_fast.method.preferences import rays
from modnas_fast.predictors.graph_predictor import Executes
from modnas_fast.predictors.make import make_cost_model
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.result.answers import Cost, FrontPoint, Pick
from modnas_fast.result.content import SCHEMA, QualityKind
from modnas_fast.result.costs import BestCosts
from modnas_fast.result.folder import CONFIG_FILE, HYPERNETWORK_FILE, PREDICTOR_FILE, RESULT_FILE, TABLE_FILE
from modnas_fast.result.kept_table import kept_qualities
from modnas_fast.runtime.checkpoint import load_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.objective import Objective
from modnas_fast.runtime.suggestions import did_you_mean
from modnas_fast.search.bilevel import initial_hypernet
from modnas_fast.spaces import Architecture, make_space
from modnas_fast.tasks.task_objective import network_arguments


class Result:
    """What one run found. `Result.load(run)` reads it from the run's folder.

    A device is named by its name in `devices`, or given as a `Device` that the search never saw, made from the costs of
    the ten reference networks there by `unseen_device` (zero-shot).
    """

    def __init__(self, run: Path, content: dict[str, Any]) -> None:
        self.run = run
        self.content = content
        self.objectives = tuple(Objective(entry["name"], entry["unit"]) for entry in content["objectives"])
        """The task's quality, then costs."""
        self._config = validate(content["configuration"])
        self.space = make_space(content["space"]["name"], self._config.space.arguments)

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
                if result.devices and result._qualities:
                    return result
                raise ValueError("no devices")
            made_by = " ".join(str(value) for value in content.get("package", {}).values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path} is damaged; delete it and make it again with --resume {run}") from None
        raise InputError(
            f"{path} has schema {schema}, this version reads {SCHEMA}: make the run again, or ask it with the version "
            f"that made it ({made_by or 'not named'})"
        )

    @property
    def quality(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    @property
    def costs(self) -> tuple[Objective, ...]:
        """The objectives behind the first."""
        return self.objectives[1:]

    @property
    def quality_kind(self) -> QualityKind:
        """What the run's qualities are: `"inherited"` from a supernet, or `"true"` ones of a table."""
        kind: QualityKind = self.content["quality_kind"]
        return kind

    @cached_property
    def devices(self) -> dict[str, Device]:
        """The devices of the run by name: those searched and those held out."""
        return {
            entry["name"]: Device(
                entry["name"],
                tuple(entry["embedding"]),
                dict(entry["metrics"]),
                entry["split"],
                {cost.name: tuple(entry["ranges"][cost.key]) for cost in self.costs},
            )
            for entry in self.content["devices"]
        }

    def device(self, name: str) -> Device:
        """The device of the run that is called `name`. Raises InputError, with the closest names, where none is."""
        if name not in self.devices:
            hint = did_you_mean(name, self.devices)
            raise InputError(f"device: unknown device {name!r}; {hint}this run has {', '.join(self.devices)}")
        return self.devices[name]

    def unseen_device(self, name: str, costs: Mapping[str, Sequence[float]]) -> Device:
        """A device that the search never saw, from the costs of the reference networks on it.

        Args:
            name: what it shall be called.
            costs: by key, such as {"latency_ms": [...]}, of `space.references` in their order; exact costs, such as
                parameters, are left out.

        Raises InputError where a cost is missing or unknown, or has not one positive number per reference network.
        """
        wanted = self.asked_of_devices
        if set(costs) != {cost.key for cost in wanted}:
            raise InputError(
                f"costs: wanted {', '.join(cost.key for cost in wanted)}, got {', '.join(costs) or 'none'}"
            )
        for key, row in costs.items():
            if len(row) != len(self.space.references):
                raise InputError(f"costs: wanted {len(self.space.references)} values of {key}, got {len(row)}")
        onehot = self.space.canonical(self.space.encode([self.space.parse(text) for text in self.space.references]))
        exact = self._formulas(onehot) if len(wanted) < len(self.costs) else {}
        values: dict[str, Sequence[float]] = {
            cost.name: costs[cost.key] if cost in wanted else exact[cost.name].tolist() for cost in self.costs
        }
        return Device.from_references(name, values, {cost.name: cost.unit for cost in self.costs}, "unseen")

    @property
    def asked_of_devices(self) -> tuple[Objective, ...]:
        """The costs that somebody has to measure on a new device: all that are not exact."""
        kinds = self.content["cost_sources"]
        return tuple(cost for cost in self.costs if kinds[cost.key] != "exact")

    def front(self, device: str | Device) -> list[FrontPoint]:
        """Distinct non-dominated networks on a device by rising costs: of its rays, for a new device of new rays.

        Costs are the best known, as in `pick`. Networks whose quality the run does not know are left out.
        """
        device = self._device(device)
        if device == self.devices.get(device.name):
            chosen = [(ray["architecture"], tuple(ray["preference"])) for ray in self._entry(device)["rays"]]
        else:
            preferences = rays(self._config.num_rays, len(self.objectives)).tolist()
            chosen = [(self.pick(device, preference=r).text, tuple(r)) for r in preferences]
        qualities = [self._quality(text) for text, _ in chosen]
        onehot = self.space.encode([self.space.parse(text) for text, _ in chosen])
        costs = self._costs(device, [text for text, _ in chosen], onehot)
        return front(
            [
                FrontPoint(
                    text,
                    (quality, *(cost.value for cost in row.values())),
                    preference,
                    tuple(cost.source for cost in row.values()),
                    row,
                )
                for (text, preference), quality, row in zip(chosen, qualities, costs)
                if quality is not None
            ]
        )

    def pick(
        self,
        device: str | Device,
        *,
        preference: Sequence[float] | None = None,
        max: Mapping[str, float] | None = None,
    ) -> Pick:
        """The network for a device and either a preference or budgets.

        Args:
            device: name or device.
            preference: weights of the objectives in their order, at least 0, with a positive sum; they are divided by
                it.
            max: budgets by key, such as {"latency_ms": 5.0, "energy_mj": 40}: of all networks that the run evaluated,
                the one of least error (or whatever the task's quality is) whose costs are within all of them.

        A cost is the measured one where the network was measured on the device, else a table's, else predicted.
        Raises InputError for an unknown device, a bad preference, an unknown cost or budgets that no network meets.
        """
        device = self._device(device)
        if preference is not None and max is None:
            return self._pick_preferred(device, preference)
        if max is not None and preference is None:
            return self._pick_within(device, max)
        raise InputError("pick: give either preference or max")

    def build(self, architecture: Architecture | str) -> nn.Module:
        """The architecture as an untrained network for the run's task."""
        if isinstance(architecture, str):
            architecture = self.space.parse(architecture)
        return self.space.build(self.space.architecture(architecture.indices), **self._network)

    @property
    def _network(self) -> dict[str, Any]:
        """What `space.build` and `space.analytic` are told."""
        told = self.content["task"]["network"]
        return network_arguments(self._config, {**told, "input_shape": tuple(told["input_shape"])})

    @cached_property
    def _exact_costs(self) -> ExactCosts:
        """The metrics, as the run's configuration names them."""
        places = zip(self._config.objectives[1:], self.costs)
        names = [name for name, cost in places if self.content["cost_sources"][cost.key] == "exact"]
        return ExactCosts(self.space, names, lambda: self._network)

    def _formulas(self, onehot: Tensor) -> dict[str, Tensor]:
        """Exact costs [n] by name of canonical architectures [n, N]."""
        return self._exact_costs(onehot)

    @torch.no_grad()
    def _pick_preferred(self, device: Device, preference: Sequence[float]) -> Pick:
        r = _simplex(preference, len(self.objectives))
        logits = self._hypernet(r[None], embeddings([device]))
        onehot = self.space.canonical(self.space.viable_mode(logits))
        (architecture,) = self.space.decode(onehot)
        (costs,) = self._costs(device, [architecture.text], onehot)
        return self._describe(device, architecture, costs)

    def _pick_within(self, device: Device, budgets: Mapping[str, float]) -> Pick:
        limits = self._limits(budgets)
        texts = list(self._qualities)
        onehot = self.space.encode([self.space.parse(text) for text in texts])
        costs = self._costs(device, texts, onehot)
        within = [
            (self._qualities[text], [row[key].value for key in limits], number)
            for number, (text, row) in enumerate(zip(texts, costs))
            if all(row[key].value <= limit for key, limit in limits.items())
        ]
        if not within:
            raise InputError(_none_within(limits, costs, device.name))
        number = min(within)[2]
        return self._describe(device, self.space.parse(texts[number]), costs[number])

    def _limits(self, budgets: Mapping[str, float]) -> dict[str, float]:
        keys = [cost.key for cost in self.costs]
        unknown = [key for key in budgets if key not in keys]
        if unknown or not budgets:
            raise InputError(f"max: wanted a budget of {' or '.join(keys)}, got {', '.join(unknown) or 'nothing'}")
        limits = {key: float(limit) for key, limit in budgets.items()}
        for key, limit in limits.items():
            if math.isnan(limit):
                raise InputError(f"max: {key} must be a number, got nan")
        return limits

    def _describe(self, device: Device, architecture: Architecture, costs: dict[str, Cost]) -> Pick:
        quality = self._quality(architecture.text)
        return Pick(
            architecture.indices, architecture.text, device.name, costs, quality, self.quality_kind, self.quality
        )

    def _quality(self, text: str) -> float | None:
        """Quality of an architecture: as the run evaluated it, else as its table has it."""
        return self._qualities[text] if text in self._qualities else self._table_qualities.get(text)

    @cached_property
    def _table_qualities(self) -> dict[str, float]:
        return kept_qualities(self.run / TABLE_FILE) if self.quality_kind == "true" else {}

    @cached_property
    def _costs(self) -> BestCosts:
        return BestCosts(
            self.content,
            self.run / TABLE_FILE,
            self.space,
            self.devices,
            self.costs,
            self._references,
            lambda: self._predictors,
            self._formulas,
        )

    @property
    def _executes(self) -> Executes:
        return "written" if "tabulated" in self.content["cost_sources"].values() else "live"

    @cached_property
    def _references(self) -> list[str]:
        """The reference networks as they were measured."""
        if self._executes == "written":
            return list(self.space.references)
        onehot = self.space.encode([self.space.parse(text) for text in self.space.references])
        return [architecture.text for architecture in self.space.decode(self.space.canonical(onehot))]

    @cached_property
    def _qualities(self) -> dict[str, float]:
        """Quality of every architecture that the run evaluated."""
        return {
            point["architecture"]: point[self.quality.key]
            for entry in self.content["devices"]
            for point in (*entry["rays"], *entry["random"])
        }

    @property
    def _embedding_width(self) -> int:
        return len(self.content["devices"][0]["embedding"])

    @cached_property
    def _hypernet(self) -> nn.Module:
        hypernet = initial_hypernet(self._config, self.space, self._embedding_width, len(self.objectives))
        load_weights(self.run / HYPERNETWORK_FILE, hypernet)
        return hypernet

    @cached_property
    def _predictors(self) -> CostModel:
        kinds = {cost.name: self.content["cost_sources"][cost.key] for cost in self.costs}
        generator = torch.Generator()
        model = make_cost_model(
            self._config.predictor, self.space, kinds, lambda: self._network, generator, self._executes
        )
        load_weights(self.run / PREDICTOR_FILE, model)
        return model

    def _device(self, device: str | Device) -> Device:
        if isinstance(device, str):
            return self.device(device)
        if len(device.embedding) != self._embedding_width:
            raise InputError(
                f"device {device.name}: wanted an embedding of {self._embedding_width} numbers, "
                f"{len(self.space.references)} reference networks of {', '.join(cost.key for cost in self.costs)}, got "
                f"{len(device.embedding)}; Result.unseen_device makes one"
            )
        return device

    def _entry(self, device: Device) -> dict[str, Any]:
        return next(entry for entry in self.content["devices"] if entry["name"] == device.name)


def _none_within(limits: Mapping[str, float], costs: Sequence[dict[str, Cost]], device: str) -> str:
    """Why no network is within the budgets, with the least that there is of each."""
    wanted = " and ".join(f"{key} of at most {limit:g}" for key, limit in limits.items())
    least = {key: min((row[key] for row in costs), key=lambda cost: cost.value) for key in limits}
    found = ", ".join(
        f"{key} {cost.value:.4g}{' (predicted)' if cost.source == 'predicted' else ''}" for key, cost in least.items()
    )
    return f"max: no evaluated network has {wanted} on {device}; the least there is: {found}"


def _simplex(preference: Sequence[float], objectives: int) -> Tensor:
    values = [float(value) for value in preference]
    if len(values) != objectives:
        raise InputError(f"preference: wanted {objectives} weights, got {len(values)}")
    if not all(0 <= value < float("inf") for value in values) or sum(values) <= 0:
        raise InputError(f"preference: wanted weights of at least 0 with a positive sum, got {values}")
    return torch.tensor(values) / sum(values)
