"""The content of result.json and history.json: what the stages left, brought together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal

from modnas_fast.config import Config
from modnas_fast.datasets import ImageTask
from modnas_fast.devices import Device, Fingerprint, Latencies
from modnas_fast.evaluation.fronts import REFERENCE_POINT, Bounds, Point, front, hypervolume, nondominated
from modnas_fast.search.history import History
from modnas_fast.spaces import SearchSpace

SCHEMA = 1
#: what errors are: those of a supernet's inherited weights, or true ones of trained networks
ErrorKind = Literal["inherited", "true"]
#: networks whose error is at least this share of that of a uniform guess learned nothing
DEGENERATE_SHARE = 0.95
NORMALIZATION = (
    "error from the least to the largest among all networks that the run evaluated, those no better than a guess "
    "left out; latency from the fastest to the slowest network of the space as predicted for the device"
)


def points_of(entries: Sequence[dict[str, Any]]) -> list[Point]:
    """Points from their plain form."""
    return [
        Point(e["architecture"], e["error"], e["latency_ms"], tuple(e["preference"]) if "preference" in e else None)
        for e in entries
    ]


def plain_points(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Points as plain values for JSON; `preference` only where there is one."""
    entries = [asdict(point) for point in points]
    return [{k: v for k, v in entry.items() if k != "preference" or v is not None} for entry in entries]


def common_bounds(evaluation: dict[str, Any], classes: int) -> dict[str, Bounds]:
    """The hypervolume's bounds per device: errors of all evaluated networks in common, latencies of each device."""
    chance = 100 * (1 - 1 / classes)
    entries = evaluation["devices"].values()
    errors = [p["error"] for entry in entries for p in (*entry["rays"], *entry["random"])]
    learned = [error for error in errors if error < DEGENERATE_SHARE * chance] or [0.0]
    low, high = min(learned), max(learned)
    error = (low, high if high > low else chance)
    return {name: Bounds(error, tuple(entry["latency_bounds_ms"])) for name, entry in evaluation["devices"].items()}


def compose_history(history: History, bounds: dict[str, Bounds]) -> dict[str, Any]:
    """What was logged during the search, with the hypervolume over time in the bounds of the final evaluation."""
    content = history.to_dict()
    tracked = content.pop("tracked")
    content["hypervolume"] = {
        "step": [entry["step"] for entry in tracked],
        "devices": list(bounds),
        "values": [
            [hypervolume([Point("", *p) for p in entry["points"][name]], bounds[name]) for name in bounds]
            for entry in tracked
        ],
    }
    return content


def compose_result(
    config: Config,
    space: SearchSpace,
    task: ImageTask,
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
        evaluation: per device `rays`, `random` and `latency_bounds_ms`.
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
    content = {
        "name": task.name,
        "classes": task.num_classes,
        "image": list(task.image_shape),
        "sizes": {part: len(getattr(task, part)) for part in ("train", "validation", "test")},
        "notes": [*task.notes, *notes],
    }
    verified = [_verified_entry(text, error, entries, latencies, predicted) for text, error in test_error.items()]
    return result_content(config, space, content, "inherited", machine, entries, verified, NORMALIZATION, seconds)


def result_content(
    config: Config,
    space: SearchSpace,
    task: dict[str, Any],
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
        "objectives": [{"name": "error", "unit": "%"}, {"name": "latency", "unit": "ms"}],
        "seed": config.seed,
        "configuration": config.model_dump(mode="json"),
        "machine": machine.to_dict(),
        "seconds": seconds,
        "hypervolume_protocol": {"reference_point": list(REFERENCE_POINT), "normalisation": normalization},
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
    chosen, drawn = points_of(rays), points_of(random)
    best = plain_points(front(chosen))
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
        "hypervolume_bounds": {"error": list(bounds.error), "latency_ms": list(bounds.latency_ms)},
        "hypervolume": hypervolume(chosen, bounds),
        "hypervolume_random": hypervolume(drawn, bounds),
        "distinct_nondominated": len(best),
        "rays": [
            {**entry, "nondominated": keep} for entry, keep in zip(plain_points(chosen), nondominated_anywhere(chosen))
        ],
        "front": best,
        "random": plain_points(drawn),
    }


def nondominated_anywhere(points: Sequence[Point]) -> list[bool]:
    """Per point, whether it is on the front or equal to a point on the front."""
    best = {(p.error, p.latency_ms) for p, keep in zip(points, nondominated(points)) if keep}
    return [(p.error, p.latency_ms) in best for p in points]


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
