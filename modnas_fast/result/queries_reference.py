"""The reference of a result's queries: result.json, the run's networks and its space, in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.config import validate
from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.metric import ExactCosts
from modnas_fast.method.preferences import rays
from modnas_fast.predictors.graph_predictor import Executes
from modnas_fast.predictors.make import make_cost_model
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.result.answers import Cost, Pick
from modnas_fast.result.content import listed_points
from modnas_fast.result.costs import BestCosts
from modnas_fast.result.folder import HYPERNETWORK_FILE, PREDICTOR_FILE, TABLE_FILE
from modnas_fast.result.kept_table import kept_qualities
from modnas_fast.result.measured_later import with_measured
from modnas_fast.runtime.checkpoint import load_weights
from modnas_fast.runtime.objective import Objective
from modnas_fast.search.bilevel import initial_hypernet
from modnas_fast.spaces import Architecture, make_space
from modnas_fast.tasks.task_objective import network_arguments


class ReferenceQueries:
    """Answers from the files that the run's stages left; needs the space's Python, and torch.

    Args:
        run: its folder.
        content: of result.json.
        objectives: of the run.
        devices: of the run, by name.
    """

    def __init__(
        self, run: Path, content: dict[str, Any], objectives: Sequence[Objective], devices: dict[str, Device]
    ) -> None:
        self._run = run
        self._content = with_measured(content, run)
        self._objectives = objectives
        self._devices = devices
        self._config = validate(content["configuration"])
        self.space = make_space(content["space"]["name"], self._config.space.arguments)

    # ---- what a result asks ----

    @torch.no_grad()
    def preferred(self, device: Device, preference: Sequence[float]) -> Pick:
        """The network of a preference, weights that are divided by their sum."""
        r = torch.tensor(preference) / sum(preference)
        logits = self.hypernet(r[None], embeddings([device]))
        onehot = self.space.canonical(self.space.viable_mode(logits))
        return self._described(device, self.space.decode(onehot), onehot)[0]

    def within(self, device: Device, limits: Mapping[str, float], count: int) -> list[Pick]:
        """The best `count` of the evaluated networks whose costs by key are within the limits."""
        texts = list(self.qualities)
        costs = self.costs(device, texts, self._encoded(texts))
        fitting = [
            (self.qualities[text], [row[key].value for key in limits], number)
            for number, (text, row) in enumerate(zip(texts, costs))
            if all(row[key].value <= limit for key, limit in limits.items())
        ]
        chosen = [number for *_, number in sorted(fitting)[:count]]
        return [self._pick(device, self.space.parse(texts[number]), costs[number]) for number in chosen]

    def evaluated(self, device: Device) -> list[Pick]:
        """Every network that the run evaluated."""
        return self.listed(device, list(self.qualities))

    def listed(self, device: Device, texts: Sequence[str]) -> list[Pick]:
        """These networks."""
        architectures = [self.space.parse(text) for text in texts]
        return self._described(device, architectures, self.space.encode(architectures))

    def rays(self, device: Device) -> list[tuple[str, tuple[float, ...]]]:
        """Network and preference of each ray of the run on one of its devices."""
        entry = next(entry for entry in self._content["devices"] if entry["name"] == device.name)
        return [(ray["architecture"], tuple(ray["preference"])) for ray in entry["rays"]]

    def archive(self, device: Device) -> list[str]:
        """What else the search found for one of the run's devices."""
        entry = next(entry for entry in self._content["devices"] if entry["name"] == device.name)
        return [point["architecture"] for point in entry.get("archive", ())]

    @cached_property
    def preferences(self) -> list[tuple[float, ...]]:
        """Those of the evaluation, for a device that has no rays yet."""
        return [tuple(r) for r in rays(self._config.num_rays, len(self._objectives)).tolist()]

    @property
    def references(self) -> tuple[str, ...]:
        """The space's reference networks."""
        return self.space.references

    @cached_property
    def exact_references(self) -> dict[str, list[float]]:
        """By key, the exact costs of the reference networks."""
        exact = [cost for cost in self._objectives[1:] if self._content["cost_sources"][cost.key] == "exact"]
        if not exact:
            return {}
        values = self._formulas(self.space.canonical(self._encoded(self.space.references)))
        return {cost.key: values[cost.name].tolist() for cost in exact}

    def build(self, architecture: Architecture | str) -> nn.Module:
        """The architecture as an untrained network for the run's task."""
        if isinstance(architecture, str):
            architecture = self.space.parse(architecture)
        return self.space.build(self.space.architecture(architecture.indices), **self._network)

    # ---- what it rests on ----

    def _described(self, device: Device, architectures: Sequence[Architecture], onehot: Tensor) -> list[Pick]:
        costs = self.costs(device, [architecture.text for architecture in architectures], onehot)
        return [self._pick(device, architecture, row) for architecture, row in zip(architectures, costs)]

    def _pick(self, device: Device, architecture: Architecture, costs: dict[str, Cost]) -> Pick:
        quality, kind = self.quality_of(architecture.text), self._content["quality_kind"]
        measures = self.measures_of(architecture.text)
        return Pick(
            architecture.indices, architecture.text, device.name, costs, quality, kind, self._objectives[0], measures
        )

    @property
    def measures(self) -> list[str]:
        """Names of further measures that the run took of its answers."""
        return list(self._content.get("measures", {}).get("names", []))

    def measures_of(self, text: str) -> dict[str, float]:
        """Those of an architecture, by name; empty where the run took none of it."""
        return dict(self._content.get("measures", {}).get("networks", {}).get(text, {}))

    def quality_of(self, text: str) -> float | None:
        """Quality of an architecture: as the run evaluated it, else as its table has it."""
        return self.qualities[text] if text in self.qualities else self.table_qualities.get(text)

    @cached_property
    def qualities(self) -> dict[str, float]:
        """Quality of every architecture that the run evaluated."""
        return evaluated_qualities(self._content, self._objectives[0])

    @cached_property
    def table_qualities(self) -> dict[str, float]:
        """Qualities that the run's table knows; empty where qualities are inherited."""
        return kept_qualities(self._run / TABLE_FILE) if self._content["quality_kind"] == "true" else {}

    @cached_property
    def costs(self) -> BestCosts:
        """The best known costs of networks."""
        return BestCosts(
            self._content,
            self._run / TABLE_FILE,
            self.space,
            self._devices,
            self._objectives[1:],
            self.measured_references,
            lambda: self.predictors,
            self._formulas,
        )

    @cached_property
    def measured_references(self) -> list[str]:
        """The reference networks as they were measured."""
        if self._executes == "written":
            return list(self.space.references)
        onehot = self.space.canonical(self._encoded(self.space.references))
        return [architecture.text for architecture in self.space.decode(onehot)]

    @cached_property
    def hypernet(self) -> nn.Module:
        """The run's."""
        width = len(next(iter(self._devices.values())).embedding)
        hypernet = initial_hypernet(self._config, self.space, width, len(self._objectives))
        load_weights(self._run / HYPERNETWORK_FILE, hypernet)
        return hypernet

    @cached_property
    def predictors(self) -> CostModel:
        """The run's."""
        kinds = {cost.name: self._content["cost_sources"][cost.key] for cost in self._objectives[1:]}
        options, generator = self._config.predictor, torch.Generator()
        model = make_cost_model(options, self.space, kinds, lambda: self._network, generator, self._executes)
        load_weights(self._run / PREDICTOR_FILE, model)
        return model

    @property
    def _executes(self) -> Executes:
        return "written" if "tabulated" in self._content["cost_sources"].values() else "live"

    @property
    def _network(self) -> dict[str, Any]:
        """What `space.build` and `space.analytic` are told."""
        told = self._content["task"]["network"]
        return network_arguments(self._config, {**told, "input_shape": tuple(told["input_shape"])})

    @cached_property
    def _exact_costs(self) -> ExactCosts:
        """The metrics, as the run's configuration names them."""
        places = zip(self._config.objectives[1:], self._objectives[1:])
        names = [name for name, cost in places if self._content["cost_sources"][cost.key] == "exact"]
        return ExactCosts(self.space, names, lambda: self._network)

    def _formulas(self, onehot: Tensor) -> dict[str, Tensor]:
        """Exact costs [n] by name of canonical architectures [n, N]."""
        return self._exact_costs(onehot)

    def _encoded(self, texts: Sequence[str]) -> Tensor:
        return self.space.encode([self.space.parse(text) for text in texts])


def evaluated_qualities(content: dict[str, Any], quality: Objective) -> dict[str, float]:
    """Quality of every architecture in result.json, in the order in which they stand there."""
    return {point["architecture"]: point[quality.key] for entry in content["devices"] for point in listed_points(entry)}
