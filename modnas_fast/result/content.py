"""The content of result.json and history.json: what the stages left, brought together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal

from modnas_fast.config import Config
from modnas_fast.devices import Device, Fingerprint, Latencies
from modnas_fast.evaluation.fronts import REFERENCE, Bounds, Point, front, hypervolume, nondominated
from modnas_fast.runtime.objective import Objective, costs_of
from modnas_fast.search.history import History
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.quality import QUALITY
from modnas_fast.tasks.task import Task

SCHEMA = 1
#: what errors are: those of a supernet's inherited weights, or true ones of trained networks
ErrorKind = Literal["inherited", "true"]
#: networks whose error is at least this share of that of a uniform guess learned nothing
DEGENERATE_SHARE = 0.95
NORMALIZATION = (
    "error from the least to the largest among all networks that the run evaluated, those no better than a guess "
    "left out; latency from the fastest to the slowest network of the space as predicted for the device"
)


def objectives_on(device: Device) -> tuple[Objective, ...]:
    """The objectives of a network on a device: the task's quality, then the device's metrics."""
    return (QUALITY, *costs_of(device.metrics))


def points_of(entries: Sequence[dict[str, Any]], objectives: Sequence[Objective]) -> list[Point]:
    """Points from their plain form, in which each objective stands under its key."""
    keys = [objective.key for objective in objectives]
    return [
        Point(e["architecture"], tuple(e[key] for key in keys), tuple(e["preference"]) if "preference" in e else None)
        for e in entries
    ]


def plain_points(points: Sequence[Point], objectives: Sequence[Objective]) -> list[dict[str, Any]]:
    """Points as plain values for JSON; `preference` only where there is one."""
    keys = [objective.key for objective in objectives]
    return [
        {
            "architecture": point.architecture,
            **dict(zip(keys, point.values, strict=True)),
            **({} if point.preference is None else {"preference": point.preference}),
        }
        for point in points
    ]


def common_bounds(evaluation: dict[str, Any], chance: float) -> dict[str, Bounds]:
    """The hypervolume's bounds per device: errors of all evaluated networks in common, costs of each device.

    `chance` is the error of a guess.
    """
    entries = evaluation["devices"].values()
    errors = [p[QUALITY.key] for entry in entries for p in (*entry["rays"], *entry["random"])]
    learned = [error for error in errors if error < DEGENERATE_SHARE * chance] or [0.0]
    low, high = min(learned), max(learned)
    found = {}
    for name, entry in evaluation["devices"].items():
        lows, highs = zip((low, high if high > low else chance), *entry["cost_bounds"])
        found[name] = Bounds(lows, highs)
    return found


def compose_history(history: History, bounds: dict[str, Bounds]) -> dict[str, Any]:
    """What was logged during the search, with the hypervolume over time in the bounds of the final evaluation."""
    content = history.to_dict()
    tracked = content.pop("tracked")
    content["hypervolume"] = {
        "step": [entry["step"] for entry in tracked],
        "devices": list(bounds),
        "values": [
            [hypervolume([Point("", tuple(p)) for p in entry["points"][name]], bounds[name]) for name in bounds]
            for entry in tracked
        ],
    }
    return content


def compose_result(
    config: Config,
    space: SearchSpace,
    task: Task,
    machine: Fingerprint,
    devices: Sequence[Device],
    latencies: Latencies,
    quality: dict[str, dict[str, Any]],
    evaluation: dict[str, Any],
    verification: dict[str, Any],
    predicted: dict[str, dict[str, float]],
    bounds: dict[str, Bounds],
    notes: Sequence[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The content of result.json.

    Args:
        latencies: everything measured, before and after the search.
        quality: the predictor's, per device.
        evaluation: per device `rays`, `random` and `cost_bounds`.
        verification: `test_error` by architecture.
        predicted: latency in ms of the verified architectures, per device.
        bounds: the hypervolume's, per device.
        notes: in words, what was done in measuring that nobody asked for.
        seconds: per stage.
    """
    test_error = verification["test_error"]
    entries = []
    for device in devices:
        measured = latencies[device.name]
        noise = statistics.median(m.noise for m in measured.values())
        found = evaluation["devices"][device.name]
        entry = device_entry(device, found["rays"], found["random"], quality[device.name], bounds[device.name], noise)
        for point in entry["front"]:
            text = point["architecture"]
            if text in test_error:
                point |= {"test_error": test_error[text], "measured_latency_ms": measured[text].latency_ms}
        entry["measured_latency_ms"] = {text: value.latency_ms for text, value in measured.items()}
        entries.append(entry)
    content = {**task.description(), "notes": [*task.notes, *notes]}
    verified = [_verified_entry(text, error, entries, latencies, predicted) for text, error in test_error.items()]
    objectives = objectives_on(devices[0])
    return result_content(
        config, space, content, objectives, "inherited", machine, entries, verified, NORMALIZATION, seconds
    )


def result_content(
    config: Config,
    space: SearchSpace,
    task: dict[str, Any],
    objectives: Sequence[Objective],
    error_kind: ErrorKind,
    machine: Fingerprint,
    devices: list[dict[str, Any]],
    verified: list[dict[str, Any]],
    normalization: str,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The content of result.json from its parts.

    Args:
        task: name, classes, image [channels, height, width], sizes, notes.
        objectives: in the order of preferences.
        error_kind: what the errors of rays, fronts and random networks are.
        devices: of `device_entry`, search devices first.
        verified: networks trained from scratch.
        normalization: words on the hypervolume's bounds.
        seconds: per stage.
    """
    return {
        "schema": SCHEMA,
        "package": {"name": "modnas-fast", "version": version("modnas-fast")},
        "space": {
            "name": space.name,
            **config.space.model_dump(exclude={"name"}),
            "num_architectures": space.num_architectures,
        },
        "task": task,
        "error_kind": error_kind,
        "objectives": [asdict(objective) for objective in objectives],
        "seed": config.seed,
        "configuration": config.model_dump(mode="json"),
        "machine": machine.to_dict(),
        "seconds": seconds,
        "hypervolume_protocol": {
            "reference_point": [REFERENCE] * len(objectives),
            "normalisation": normalization,
        },
        "devices": devices,
        "verified": verified,
    }


def device_entry(
    device: Device,
    rays: list[dict[str, Any]],
    random: list[dict[str, Any]],
    quality: dict[str, Any],
    bounds: Bounds,
    noise: float | None,
) -> dict[str, Any]:
    """What result.json holds of a device.

    Args:
        device: searched or unseen.
        rays: plain points of the evaluation's rays.
        random: plain points of random networks.
        quality: the predictor's; `judged_ms` is the range of the latencies that judge it, where these are not all
            in `measured_ms`.
        bounds: the hypervolume's.
        noise: relative, of a measurement; None where it is not known.
    """
    objectives = objectives_on(device)
    chosen, drawn = points_of(rays, objectives), points_of(random, objectives)
    best = plain_points(front(chosen), objectives)
    judged = [*device.ranges["latency"], *quality.get("judged_ms", quality["measured_ms"])]
    return {
        "name": device.name,
        "split": device.split,
        "metrics": device.metrics,
        "embedding": list(device.embedding),
        "latency_range_ms": list(device.ranges["latency"]),
        "judged_latency_ms": [min(judged), max(judged)],
        "noise": noise,
        "spearman": quality["spearman"],
        "spearman_networks": quality.get("networks", len(quality["measured_ms"])),
        "hypervolume_bounds": {o.key: [low, high] for o, low, high in zip(objectives, bounds.low, bounds.high)},
        "hypervolume": hypervolume(chosen, bounds),
        "hypervolume_random": hypervolume(drawn, bounds),
        "distinct_nondominated": len(best),
        "rays": [
            {**entry, "nondominated": keep}
            for entry, keep in zip(plain_points(chosen, objectives), nondominated_anywhere(chosen))
        ],
        "front": best,
        "random": plain_points(drawn, objectives),
    }


def nondominated_anywhere(points: Sequence[Point]) -> list[bool]:
    """Per point, whether it is on the front or equal to a point on the front."""
    best = {point.values for point, keep in zip(points, nondominated(points)) if keep}
    return [point.values in best for point in points]


def _verified_entry(
    text: str,
    test_error: float,
    entries: Sequence[dict[str, Any]],
    latencies: Latencies,
    predicted: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """A network trained from scratch: its errors, and its latency on every device as predicted and as measured."""
    inherited = next(p["error"] for e in entries for p in e["rays"] if p["architecture"] == text)
    return {
        "architecture": text,
        "supernet_error": inherited,
        "test_error": test_error,
        "latency_ms": {
            device: {"predicted": values[text], "measured": latencies[device][text].latency_ms}
            for device, values in predicted.items()
        },
    }
