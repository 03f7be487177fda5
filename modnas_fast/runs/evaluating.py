"""The evaluation of a run's answer: networks on rays, of the archive's front, and random ones, on every device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from modnas_fast.baselines import random_architectures
from modnas_fast.devices import Device
from modnas_fast.evaluation.fronts import Point
from modnas_fast.result.content import DEGENERATE_SHARE, listed_points, objectives_on, plain_points
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runs.known_fronts import known_fronts
from modnas_fast.runs.searching import Answer
from modnas_fast.runtime.progress import Reporter
from modnas_fast.search.evaluator import Evaluator

#: networks of archives that are told at most for all devices together, and for each of many still
ARCHIVED_ALTOGETHER, LEAST_ARCHIVED = 4000, 8


def evaluate(
    inputs: Inputs, answer: Answer, evaluator: Evaluator, reporter: Reporter, *, familiar: bool
) -> dict[str, Any]:
    """Per device plain points of `rays`, of the `archive` and `random` ones, and the bounds of the costs.

    The same random networks, as many as rays, stand beside the answers on every device.

    Args:
        inputs: of the run.
        answer: of its search.
        evaluator: tells qualities and costs.
        reporter: where progress is told.
        familiar: whether the quality of the network is told that one would take without a search.
    """
    config, devices = inputs.config, answer.prepared.devices
    generator = torch.Generator().manual_seed(config.seed + 5)
    entries = {}
    with reporter.stage("Evaluating", 1 + len(devices)) as advance:
        points = evaluator.ray_points(answer.hypernet, devices, config.num_rays)
        archived = _archived(inputs, answer)
        random = random_architectures(inputs.space, config.num_rays, generator)
        advance(1)
        for done, (device, chosen, further) in enumerate(zip(devices, points, archived)):
            onehot = torch.cat([random, further])
            evaluator.compute_errors(onehot)
            found = evaluator.points(onehot, device)
            regional = _within_regions(inputs, answer, evaluator, device)
            drawn, beside = found[: config.num_rays], _others([*regional, *found[config.num_rays :]], chosen)
            objectives = objectives_on(device, inputs.quality)
            entries[device.name] = {
                "rays": plain_points(chosen, objectives),
                "archive": plain_points(beside, objectives),
                "random": plain_points(drawn, objectives),
                **_told_of_regions(inputs, device),
                "cost_bounds": _cost_bounds(inputs, evaluator, device, [*chosen, *regional, *found]),
            }
            advance(2 + done)
    notes = _notes(inputs, entries, answer, reporter)
    return {"devices": entries, **(_evaluate_familiar(inputs, evaluator) if familiar else {}), "notes": notes}


def _archived(inputs: Inputs, answer: Answer) -> list[torch.Tensor]:
    """Per device, one-hots [n, N] of what the search knows beside its answers to preferences."""
    devices, wanted = answer.prepared.devices, inputs.config.evaluation.archive
    if not wanted:
        return [torch.empty(0, inputs.space.num_options)] * len(devices)
    return known_fronts(answer, inputs.space, min(wanted, max(LEAST_ARCHIVED, ARCHIVED_ALTOGETHER // len(devices))))


def _within_regions(inputs: Inputs, answer: Answer, evaluator: Evaluator, device: Device) -> list[Point]:
    """Further answers of the hypernetwork, in the regions of a device's front that count more."""
    regions = inputs.regions[device.name]
    if not regions:
        return []
    return evaluator.points_within(answer.hypernet, device, regions, inputs.config.preferences.region_answers)


def _told_of_regions(inputs: Inputs, device: Device) -> dict[str, Any]:
    regions = inputs.regions[device.name]
    return {"regions": [region.to_dict(inputs.objectives) for region in regions]} if regions else {}


def _others(points: Sequence[Point], chosen: Sequence[Point]) -> list[Point]:
    """The points of networks that are not among the chosen ones, each once."""
    known, others = {point.architecture for point in chosen}, []
    for point in points:
        if point.architecture not in known:
            known.add(point.architecture)
            others.append(point)
    return others


def _cost_bounds(
    inputs: Inputs, evaluator: Evaluator, device: Device, points: Sequence[Point]
) -> list[tuple[float, float]]:
    """Per cost, the least and the largest that is predicted or known; empty where the exact fronts tell."""
    if inputs.has_benchmark:
        return []
    bounds = evaluator.cost_bounds(device)
    columns = zip(*(point.values[1:] for point in points))
    return [(min(low, *column), max(high, *column)) for (low, high), column in zip(bounds, columns)]


def _evaluate_familiar(inputs: Inputs, evaluator: Evaluator) -> dict[str, Any]:
    """The quality of the network that one would take without a search, where the space has one."""
    familiar = inputs.space.familiar
    if familiar is None:
        return {}
    onehot = inputs.space.canonical(inputs.space.encode([familiar]))
    (text,) = (architecture.text for architecture in inputs.space.decode(onehot))
    return {"familiar": {text: float(evaluator.errors(onehot)[0])}}


def _notes(inputs: Inputs, entries: dict[str, Any], answer: Answer, reporter: Reporter) -> list[str]:
    """What is said where weights were trained and no network that was evaluated is better than a guess."""
    if not inputs.trains:
        return []
    key, chance = inputs.quality.key, answer.prepared.objective.chance_error
    if min(point[key] for entry in entries.values() for point in listed_points(entry)) < DEGENERATE_SHARE * chance:
        return []
    line = (
        f"no network is better than a guess ({inputs.quality.name} {chance:.4g}): the weights learned "
        "nothing; try another search.weight_optimizer or search.weight_learning_rate, more search.warmup_steps, or "
        "look at the data"
    )
    reporter.say(f"  note: {line}")
    return [line]
