"""Writing answers.npz: everything that questions to a finished run need, worked out once by the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modnas_fast.method.metahypernet import BankHypernetwork, MLPHypernetwork
from modnas_fast.result.answers import Cost
from modnas_fast.result.answers_file import SOURCES, Array, open_answers, save_answers, stamp_of
from modnas_fast.result.folder import ANSWERS_FILE, answered
from modnas_fast.result.portable_predictors import Priced, linears, priced
from modnas_fast.result.queries_reference import ReferenceQueries
from modnas_fast.result.result import Result
from modnas_fast.spaces import SearchSpace

#: combinations of options up to which a file holds what each of them comes to, so that no rule of the space is needed
SMALL_SPACE = 20_000
#: networks whose features are worked out at once
CHUNK = 4096


def keep_answers(run: Path) -> bool:
    """Writes answers.npz of a finished run unless it stands there for these files; whether it was written."""
    text = answered(run)
    if open_answers(run / ANSWERS_FILE, text) is not None:
        return False
    result = Result.load(run)
    save_answers(run / ANSWERS_FILE, *_Composed(result, result.reference).whole(stamp_of(text)))
    return True


class _Composed:
    """Header and arrays of a run's answers."""

    def __init__(self, result: Result, queries: ReferenceQueries) -> None:
        self._result = result
        self._queries = queries
        self._space: SearchSpace = queries.space
        self._devices = list(result.devices.values())
        self._evaluated = list(queries.qualities)
        self._priced, self._unpriced = priced(result.costs, result.content["cost_sources"], queries)

    def whole(self, stamp: list[int]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Both, of a result.json with this stamp."""
        arrays = {**self._of_devices(), **self._block("networks", self._evaluated)}
        if names := self._queries.measures:
            found = [self._queries.measures_of(text) for text in self._evaluated]
            arrays["networks.measures"] = np.array([[of.get(name, math.nan) for name in names] for of in found])
        arrays["networks.order"] = np.argsort(arrays["networks.quality"], kind="stable")
        for key, predictor in self._priced.items():
            arrays |= {f"predictor.{key}.{name}": array for name, array in predictor.prices.items()}
        hypernetwork, weights = _hypernetwork(self._queries.hypernet)
        preferences = None if hypernetwork else "its hypernetwork is of a kind that is not built in"
        if self._space.num_architectures <= SMALL_SPACE:
            arrays |= self._combinations()
        else:
            preferences = preferences or f"its space has more than {SMALL_SPACE:,} networks, and rules of its own"
        needs = {"preferences": preferences, "new_devices": self._unpriced}
        return {**self._header(stamp), "hypernetwork": hypernetwork, "needs_torch": needs}, {**arrays, **weights}

    def _header(self, stamp: list[int]) -> dict[str, Any]:
        content, space = self._result.content, self._space
        return {
            "result": stamp,
            "package": {"name": "modnas-fast", "version": version("modnas-fast")},
            "space": {
                "name": content["space"]["name"],
                "choices": [{"name": choice.name, "options": list(choice.options)} for choice in space.choices],
            },
            "references": list(space.references),
            "exact_references": self._queries.exact_references,
            "objectives": content["objectives"],
            "quality_kind": content["quality_kind"],
            "cost_sources": content["cost_sources"],
            "measures": self._queries.measures,
            "sources": list(SOURCES),
            "devices": [
                {
                    "name": device.name,
                    "split": device.split,
                    "metrics": device.metrics,
                    "doubts": {cost.key: self._queries.costs.doubt(device, cost) for cost in self._result.costs},
                }
                for device in self._devices
            ],
            "largest_gap": self._queries.costs.largest_gap,
        }

    def _of_devices(self) -> dict[str, Array]:
        costs, row_of = self._result.costs, {text: row for row, text in enumerate(self._evaluated)}
        judged = [self._queries.costs.judged(cost) for cost in costs]
        nothing = (math.nan, math.nan)
        rays = [self._queries.rays(device) for device in self._devices]
        further = [(place, row_of[t]) for place, d in enumerate(self._devices) for t in self._queries.archive(d)]
        return {
            "devices.embedding": np.array([device.embedding for device in self._devices]),
            "devices.ranges": np.array([[device.ranges[cost.name] for cost in costs] for device in self._devices]),
            "devices.judged": np.array([[of.get(d.name, nothing) for of in judged] for d in self._devices]),
            "rays.network": np.array([[row_of[text] for text, _ in row] for row in rays], np.int32),
            "rays.preference": np.array([[r for _, r in row] for row in rays]),
            "archive.device": np.array([place for place, _ in further], np.int32),
            "archive.network": np.array([row for _, row in further], np.int32),
            "preferences": np.array(self._queries.preferences),
        }

    # ---- tables of networks ----

    def _block(self, name: str, texts: Sequence[str]) -> dict[str, Array]:
        """Members of a table of networks."""
        onehot = self._space.encode([self._space.parse(text) for text in texts])
        quality = [self._queries.quality_of(text) for text in texts]
        places = {text: place for place, text in enumerate(self._queries.measured_references)}
        found = {
            "text": np.array(texts),
            "indices": self._space.indices(onehot).int().numpy(),
            "quality": np.array([math.nan if value is None else value for value in quality]),
            "reference": np.array([places.get(text, -1) for text in texts], np.int32),
            **self._costs(texts, onehot),
            **{f"features.{key}": _features(predictor, onehot) for key, predictor in self._priced.items()},
        }
        return {f"{name}.{member}": array for member, array in found.items()}

    def _costs(self, texts: Sequence[str], onehot: Tensor) -> dict[str, Array]:
        """Costs, sources and extrapolations on all devices, [T, n, C] each."""
        tables = [_table(self._queries.costs.columns(device, texts, onehot)) for device in self._devices]
        return {name: np.stack(part) for name, part in zip(("costs", "source", "extrapolated"), zip(*tables))}

    def _combinations(self) -> dict[str, Array]:
        """Of a small space: what each combination of options comes to, and all networks that were not evaluated."""
        onehot = self._space.enumerate()
        canonical = [architecture.text for architecture in self._space.decode(self._space.canonical(onehot))]
        row_of = {text: row for row, text in enumerate(self._evaluated)}
        for text in canonical:
            row_of.setdefault(text, len(row_of))
        others = list(row_of)[len(self._evaluated) :]
        return {
            "space.canonical": np.array([row_of[text] for text in canonical], np.int32),
            "space.viable": (self._space.viable(onehot) > 0.5).numpy(),
            **self._block("others", others),
        }


def _table(columns: Sequence[Sequence[Cost]]) -> tuple[Array, Array, Array]:
    """Values, sources and extrapolations, [n, C] each, of C columns."""
    return (
        np.array([[cost.value for cost in column] for column in columns], float).T,
        np.array([[SOURCES.index(cost.source) for cost in column] for column in columns], np.uint8).T,
        np.array([[cost.extrapolated for cost in column] for column in columns], bool).T,
    )


@torch.no_grad()
def _features(predictor: Priced, onehot: Tensor) -> Array:
    return np.asarray(torch.cat([predictor.features(part) for part in onehot.split(CHUNK)]).numpy())


def _hypernetwork(hypernet: torch.nn.Module) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    """Settings and weights of a built-in hypernetwork; None and nothing for another."""
    if type(hypernet) is BankHypernetwork:
        settings: dict[str, Any] = {
            "kind": "bank",
            "divisions": hypernet.divisions,
            "interpolate": hypernet.interpolate,
        }
        weights: dict[str, Tensor] = {"tables": hypernet.tables, "keys": hypernet.keys}
    elif type(hypernet) is MLPHypernetwork:
        settings = {"kind": "mlp", "logit_bound": hypernet.logit_bound}
        weights = {}
        for place, linear in enumerate(linears(hypernet.layers)):
            weights |= {f"weight{place}": linear.weight, f"bias{place}": linear.bias}
    else:
        return None, {}
    return settings, {f"hypernetwork.{name}": tensor.detach().numpy() for name, tensor in weights.items()}
