"""The content of result.json and history.json: what the stages left, brought together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from modnas_fast.config import Config
from modnas_fast.devices import Device, Fingerprint
from modnas_fast.devices.cost_source import Source, Values
from modnas_fast.evaluation.dial import covered_share, monotone_share
from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.evaluation.fronts import REFERENCE, Bounds, Point, front, hypervolume, nondominated
from modnas_fast.result.folder import SCHEMA
from modnas_fast.runtime.objective import Objective, costs_of
from modnas_fast.search.history import History
from modnas_fast.spaces import SearchSpace

#: what qualities are: those of a supernet's inherited weights, true ones of trained networks, or a model's of a table
QualityKind = Literal["inherited", "true", "judged"]
#: networks whose quality is at least this share of that of a uniform guess learned nothing
DEGENERATE_SHARE = 0.95
PREDICTED_RANGE = (
    "the first objective from the least to the largest among all networks that the run evaluated, those no better than "
    "a guess left out; costs from the least to the largest of the space as known or predicted for the device"
)
JUDGED_RANGE = (
    "every objective from the least to the largest of the table's measured networks, per device; of answers and of the "
    "front that they are compared with, qualities and costs are those that models fitted to the table judge: no answer "
    "gains by a lucky measurement"
)
TRUE_RANGE = (
    "networks that learned nothing are left out; every objective from the least to the largest of the rest of the "
    "table, per device (the published protocol)"
)


def objectives_on(device: Device, quality: Objective) -> tuple[Objective, ...]:
    """The objectives of a network on a device: the task's quality, then the device's metrics."""
    return (quality, *costs_of(device.metrics))


def points_of(entries: Sequence[dict[str, Any]], objectives: Sequence[Objective]) -> list[Point]:
    """Points from their plain form, in which each objective stands under its key."""
    keys = [objective.key for objective in objectives]
    return [
        Point(
            entry["architecture"],
            tuple(entry[key] for key in keys),
            tuple(entry["preference"]) if "preference" in entry else None,
            tuple(entry["sources"].get(key, "predicted") for key in keys[1:]) if "sources" in entry else (),
        )
        for entry in entries
    ]


def plain_points(points: Sequence[Point], objectives: Sequence[Objective]) -> list[dict[str, Any]]:
    """Points as plain values for JSON; `preference` and `sources` only where there are any."""
    keys = [objective.key for objective in objectives]
    return [
        {
            "architecture": point.architecture,
            **dict(zip(keys, point.values, strict=True)),
            **({} if point.preference is None else {"preference": point.preference}),
            **({"sources": dict(zip(keys[1:], point.sources, strict=True))} if point.sources else {}),
        }
        for point in points
    ]


def answers_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Plain points of the answers for a device: on rays, and of the archive's front."""
    return [*entry["rays"], *entry.get("archive", ())]


def listed_points(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Plain points of all networks that are told of a device: answers, and random ones."""
    return [*answers_of(entry), *entry["random"]]


def common_bounds(evaluation: dict[str, Any], quality: Objective, chance: float) -> dict[str, Bounds]:
    """The hypervolume's bounds per device: qualities of all evaluated networks in common, costs of each device.

    `chance` is the quality of a guess, in the unit of `quality`.
    """
    entries = evaluation["devices"].values()
    values = [p[quality.key] for entry in entries for p in listed_points(entry)]
    learned = [value for value in values if value < DEGENERATE_SHARE * chance] or [0.0]
    low, high = min(learned), max(learned)
    found = {}
    for name, entry in evaluation["devices"].items():
        lows, highs = zip((low, high if high > low else chance), *entry["cost_bounds"])
        found[name] = Bounds(lows, highs)
    return found


def compose_history(history: History, bounds: dict[str, Bounds], costs: Sequence[Objective]) -> dict[str, Any]:
    """What was logged during the search, with the hypervolume over time in the bounds of the final evaluation."""
    content = history.to_dict()
    tracked = content.pop("tracked")
    content["costs"] = {
        cost.key: [[values[column] for values in row] for row in history.costs] for column, cost in enumerate(costs)
    }
    content["hypervolume"] = {
        "step": [entry["step"] for entry in tracked],
        "devices": list(bounds),
        "values": [
            [hypervolume([Point("", tuple(p)) for p in entry["points"][name]], bounds[name]) for name in bounds]
            for entry in tracked
        ],
    }
    return content


def result_content(
    config: Config,
    space: SearchSpace,
    task: dict[str, Any],
    objectives: Sequence[Objective],
    kinds: Mapping[str, Source],
    quality_kind: QualityKind,
    machine: Fingerprint,
    devices: list[dict[str, Any]],
    verified: list[dict[str, Any]],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The content of result.json from its parts.

    Args:
        config: the run's.
        space: the search space.
        task: name, notes, `network` (what `SearchSpace.build` is told of the task), and what else the task tells.
        objectives: in the order of preferences.
        kinds: by metric, where costs come from that are not predicted.
        quality_kind: what the qualities of rays, fronts and random networks are.
        machine: where it ran.
        devices: of `device_entry`, search devices first.
        verified: of `verified_entry`.
        seconds: per stage.
    """
    return {
        "schema": SCHEMA,
        "package": {"name": "modnas-fast", "version": version("modnas-fast")},
        "space": {
            "name": config.space.name,
            **config.space.model_dump(exclude={"name"}),
            "num_architectures": space.num_architectures,
            **({"begins_trained": True} if space.begins_trained else {}),
        },
        "task": task,
        "quality_kind": quality_kind,
        "objectives": [plain_objective(objective) for objective in objectives],
        "cost_sources": {cost.key: kinds[cost.name] for cost in objectives[1:]},
        "seed": config.seed,
        "configuration": config.model_dump(mode="json"),
        "machine": machine.to_dict(),
        "seconds": seconds,
        "hypervolume_protocol": {
            "reference_point": [REFERENCE] * len(objectives),
            "normalisation": _normalisation(devices, quality_kind),
        },
        "devices": devices,
        "verified": verified,
    }


def _normalisation(devices: Sequence[dict[str, Any]], kind: QualityKind) -> str:
    """What is 0 and 1 in hypervolumes, in words."""
    if not any("hypervolume_exact" in device for device in devices):
        return PREDICTED_RANGE
    return JUDGED_RANGE if kind == "judged" else TRUE_RANGE


def plain_objective(objective: Objective) -> dict[str, str]:
    """Name, unit and key."""
    return {"name": objective.name, "unit": objective.unit, "key": objective.key}


def device_entry(
    device: Device,
    quality: Objective,
    found: dict[str, Any],
    predictor: Mapping[str, dict[str, Any]],
    bounds: Bounds,
    *,
    noise: Mapping[str, float],
    measured: Mapping[str, Values],
    doubts: Mapping[str, str] | None = None,
    exact: ExactFront | None = None,
    tested: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What result.json holds of a device.

    Args:
        device: searched or unseen.
        quality: the first objective.
        found: plain points, `rays` of the evaluation, those of the `archive`, and `random` networks.
        predictor: how well the device's costs are predicted, by key: `spearman`, `networks`, and the range `judged` of
            the costs that judge it; without an entry for exact costs.
        bounds: the hypervolume's.
        noise: relative, of a measurement, by metric.
        measured: costs by network.
        doubts: by metric that was measured, why it is not trustworthy; empty where it is.
        exact: the exact front, where it is known or judged.
        tested: quality on the test part of networks that were trained from scratch.
    """
    objectives = objectives_on(device, quality)
    costs = objectives[1:]
    chosen, further, drawn = (points_of(found.get(kind, ()), objectives) for kind in ("rays", "archive", "random"))
    best = plain_points(front([*chosen, *further]), objectives)
    for point in best:
        text = point["architecture"]
        if text in (tested or {}):
            point["test"] = {quality.key: (tested or {})[text]}
            point |= {"measured": keyed(costs, measured[text])} if text in measured else {}
    ranges = {cost.key: list(device.ranges[cost.name]) for cost in costs}
    judged = {key: [*ranges[key], *entry["judged"]] for key, entry in predictor.items()}
    values = {"hypervolume": hypervolume(chosen, bounds), "hypervolume_front": hypervolume([*chosen, *further], bounds)}
    return {
        "name": device.name,
        "split": device.split,
        "metrics": device.metrics,
        "embedding": list(device.embedding),
        "ranges": ranges,
        "judged": {key: [min(values), max(values)] for key, values in judged.items()},
        "noise": {cost.key: noise[cost.name] for cost in costs if cost.name in noise},
        "trust": {
            cost.key: {"trustworthy": not doubts[cost.name], "why": doubts[cost.name]}
            for cost in costs
            if doubts and cost.name in doubts
        },
        "predictor": {
            key: {"spearman": entry["spearman"], "networks": entry["networks"]}
            for key, entry in predictor.items()
            if entry["networks"]
        },
        "hypervolume_bounds": {o.key: [low, high] for o, low, high in zip(objectives, bounds.low, bounds.high)},
        **values,
        "hypervolume_random": hypervolume(drawn, bounds),
        **({} if exact is None else _compared(values, exact)),
        "distinct_nondominated": len(front(chosen)),
        "front_networks": len(best),
        **_dial(chosen, further, exact),
        **({} if "regions" not in found else _told_of(found["regions"], best, objectives)),
        "rays": [
            {**entry, "nondominated": keep}
            for entry, keep in zip(plain_points(chosen, objectives), nondominated_anywhere(chosen))
        ],
        "front": best,
        "archive": plain_points(further, objectives),
        "random": plain_points(drawn, objectives),
        "measured": {text: keyed(costs, values) for text, values in measured.items()},
    }


def _dial(chosen: Sequence[Point], further: Sequence[Point], exact: ExactFront | None) -> dict[str, float]:
    """How the answers to preferences follow them, and what of the exact front they reach, alone and with all others."""
    on_rays = [(point.preference, point.values) for point in chosen if point.preference is not None]
    monotone = monotone_share(*zip(*on_rays)) if on_rays else None
    told = {} if monotone is None else {"monotone": monotone}
    if exact is not None:
        best = exact.values[exact.rows]
        for key, points in (("covered", chosen), ("covered_front", [*chosen, *further])):
            told[key] = covered_share(best, exact.normalize(np.array([point.values for point in points])))
    return told


def _told_of(
    regions: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]], objectives: Sequence[Objective]
) -> dict[str, Any]:
    """Regions of a device that counted more, and how many networks of its front lie in any of them."""
    inside = sum(any(_lies_in(region, point, objectives) for region in regions) for point in best)
    return {"regions": list(regions), "region_networks": inside}


def _lies_in(region: dict[str, Any], point: Mapping[str, Any], objectives: Sequence[Objective]) -> bool:
    """Whether a network's values are within a region, and where that bounds weights, its preference."""
    weights = dict(zip((objective.name for objective in objectives), point.get("preference", ())))
    bounded = [(point[key], ends) for key, ends in region["within"].items()]
    bounded += [(weights.get(name, math.nan), ends) for name, ends in region["weights"].items()]
    return all(
        (-math.inf if low is None else low) <= value <= (math.inf if high is None else high)
        for value, (low, high) in bounded
    )


def _compared(values: Mapping[str, float], exact: ExactFront) -> dict[str, Any]:
    """Hypervolumes beside that of the exact front; beside the measured one, too, where the exact one is judged."""
    told: dict[str, Any] = {"hypervolume_exact": exact.hypervolume}
    told |= {f"{name}_ratio": value / exact.hypervolume for name, value in values.items()}
    if exact.measured is not None:
        told["hypervolume_measured"] = exact.measured.hypervolume
        told |= {f"{name}_ratio_measured": value / exact.measured.hypervolume for name, value in values.items()}
    return told


def keyed(costs: Sequence[Objective], values: Sequence[float]) -> dict[str, float]:
    """Costs of a network by key."""
    return {cost.key: value for cost, value in zip(costs, values, strict=True)}


def nondominated_anywhere(points: Sequence[Point]) -> list[bool]:
    """Per point, whether it is on the front or equal to a point on the front."""
    best = {point.values for point, keep in zip(points, nondominated(points)) if keep}
    return [point.values in best for point in points]


def verified_entry(
    text: str,
    tested: float,
    entries: Sequence[dict[str, Any]],
    quality: Objective,
    predicted: Mapping[str, Mapping[str, dict[str, float]]],
    familiar: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """A network trained from scratch: its qualities, and its costs on every device as predicted and as measured.

    Args:
        text: of the network.
        tested: its quality on the test part.
        entries: of all devices.
        quality: the first objective.
        predicted: costs by key, by device and network.
        familiar: inherited quality by network of those that were not searched, but stand beside the answers.
    """
    told = {p["architecture"]: p[quality.key] for e in entries for p in listed_points(e)}
    inherited = (familiar or {})[text] if text not in told else told[text]
    return {
        "architecture": text,
        **({"familiar": True} if text in (familiar or {}) else {}),
        "inherited": inherited,
        "test": tested,
        "costs": {
            entry["name"]: {
                key: {"predicted": value, "measured": entry["measured"].get(text, {}).get(key)}
                for key, value in predicted[entry["name"]][text].items()
            }
            for entry in entries
        },
    }


def with_baselines(content: dict[str, Any], baselines: Mapping[str, Any]) -> dict[str, Any]:
    """The content of result.json with the fronts of black-box searches on the same weights, and their hypervolumes.

    Args:
        content: of `result_content`.
        baselines: evaluated `networks` of each search, and per device plain points by method; empty: none were made.
    """
    if not baselines:
        return content
    objectives = [Objective(objective["name"], objective["unit"]) for objective in content["objectives"]]
    devices = []
    for entry in content["devices"]:
        bounds = Bounds(*zip(*(entry["hypervolume_bounds"][objective.key] for objective in objectives)))
        told = {
            method: {"hypervolume": hypervolume(points_of(points, objectives), bounds), "front": points}
            for method, points in baselines["devices"][entry["name"]].items()
        }
        devices.append({**entry, "baselines": told})
    return {**content, "devices": devices, "baselines": {"networks": baselines["networks"]}}


def with_measures(content: dict[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    """The content of result.json with further measures of answers, beside them and as the least of each device.

    Args:
        content: of `result_content`.
        measures: `names`, `samples` and values by name of `networks` by architecture; without networks nothing is told.
    """
    networks = measures["networks"]
    if not networks:
        return content
    devices = []
    for entry in content["devices"]:
        told = [{**point, "measures": networks[point["architecture"]]} for point in entry["front"]]
        least = {name: min(point["measures"][name] for point in told) for name in measures["names"]}
        devices.append({**entry, "front": told, "least": least})
    kept = {name: measures[name] for name in ("names", "samples", "networks")}
    return {**content, "devices": devices, "measures": {**kept, "part": "test", "weights": "inherited"}}
