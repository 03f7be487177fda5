"""The tables of a reproduction: scores, fronts and anytime curves of every method and seed, and its ablations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modnas_fast.report.reproduction.contents import (
    Method,
    Pair,
    ReproducedDevice,
    Reproduction,
    read_reproduction,
)
from modnas_fast.report.reproduction.numbers import AXIS_TITLES, SPLIT_NAMES, mean_curve
from modnas_fast.report.tables.records import Record, Tables, of_step
from modnas_fast.runtime.objective import Objective


def reproduction_tables(folder: Path) -> Tables:
    """`scores`, `fronts`, `anytime`, `anytime_mean` and `ablations`; what was left out has no records."""
    report = read_reproduction(folder)
    return {
        "scores": [record for method in report.methods for record in _scores(method, report)],
        "fronts": [record for device in report.devices for record in _fronts(device, report)],
        "anytime": [record for method in report.methods for record in _anytime(method)],
        "anytime_mean": [record for method in report.methods for record in _anytime_mean(method)],
        "ablations": list(_ablations(report)),
    }


def _scores(method: Method, report: Reproduction) -> Iterator[Record]:
    for run in method.runs:
        for device in report.devices:
            if (score := run.devices.get(device.name)) is not None:
                yield {
                    "method": method.name,
                    "seed": run.seed,
                    "device": device.name,
                    "split": device.split,
                    "hypervolume": score.hypervolume,
                    "ratio": score.ratio,
                    "igd_plus": score.igd_plus,
                    "networks": score.networks,
                }


def _fronts(device: ReproducedDevice, report: Reproduction) -> Iterator[Record]:
    """The front that ratios are to, as method `exact`, then those found, by rising quality."""
    found: list[tuple[str, int | None, list[Pair]]] = [("exact", None, device.exact_front)]
    found += [
        (method.name, run.seed, run.devices[device.name].front)
        for method in report.methods
        for run in method.runs
        if device.name in run.devices
    ]
    for name, seed, front in found:
        for point in sorted(front):
            yield {
                "method": name,
                "seed": seed,
                "device": device.name,
                "split": device.split,
                **_values(point, device, report),
            }


def _values(point: Pair, device: ReproducedDevice, report: Reproduction) -> Record:
    """Quality and cost in their units, where their ranges are known, and as shares of these."""
    columns: Record = {}
    named = ((report.quality, device.quality_range), (report.cost, device.cost_range))
    for share, (measure, bounds) in zip(point, named, strict=True):
        key = Objective(measure.name, measure.unit).key
        columns[key] = None if bounds is None else bounds[0] + share * (bounds[1] - bounds[0])
        columns[f"{key}_share"] = share
    return columns


def _anytime(method: Method) -> Iterator[Record]:
    for run in method.runs:
        for point in run.curve:
            for split in SPLIT_NAMES:
                if (ratio := point.ratio.get(split)) is not None:
                    yield {
                        "method": method.name,
                        "seed": run.seed,
                        "split": split,
                        "evaluations": point.evaluations,
                        "seconds": point.seconds,
                        "ratio": ratio,
                    }


def _anytime_mean(method: Method) -> Iterator[Record]:
    for split in SPLIT_NAMES:
        for axis in AXIS_TITLES:
            for step in mean_curve(method.runs, axis, split):
                yield {"method": method.name, "split": split, **of_step(axis, step)}


def _ablations(report: Reproduction) -> Iterator[Record]:
    for ablation in report.ablations:
        for run in ablation.runs:
            for split in SPLIT_NAMES:
                if (ratio := run.ratio.get(split)) is not None:
                    yield {
                        "factor": ablation.factor,
                        "value": ablation.value,
                        "default": ablation.default,
                        "seed": run.seed,
                        "split": split,
                        "ratio": ratio,
                        "networks": run.networks.get(split),
                        "seconds": run.seconds,
                        "gradient_cosine": run.gradient_cosine,
                        "weights_spread": run.weights_spread,
                    }
