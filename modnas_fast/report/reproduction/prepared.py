"""What the page of a reproduction shows, as plain data with the names and units of its metrics.

A sample is a list with one value per seed; the page shows its mean and its standard deviation.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from modnas_fast.report.marks import SPLITS, duration, mean, number
from modnas_fast.report.prepared import Facts, Place, Tile, averages, machine_words, software_words
from modnas_fast.report.reproduction.contents import Ablation, PredictorQuality, Reproduction, Run, ThreeObjectives
from modnas_fast.report.reproduction.numbers import (
    SPLIT_NAMES,
    Field,
    ablation_values,
    curves,
    device_values,
    present,
    split_values,
    targets,
    worst_device,
)

PROTOCOL = (
    "341 of the 15,625 networks learned nothing (an error of 90 % on CIFAR-10) and are dropped. Over the "
    "remaining 15,284, error and latency are min-max normalised, latency for each device alone. The hypervolume "
    "has the reference point (1, 1); its ratio is that to the exact front, which is known because every network "
    "of the table is.",
    "MODNAS answers 24 preferences, spread evenly over the quarter circle, with the most probable network (MAP) "
    "of each; their true errors and latencies from the table make its front. On unseen devices it knows ten "
    "reference latencies and nothing else.",
    "IGD+ is the mean distance from the exact front to the one found, in normalised units; smaller is better. "
    "Networks are the distinct non-dominated ones. ± is the standard deviation over seeds.",
)
SOURCES = {
    "surrogate": "the table's true errors, through a surrogate that is fitted to those looked up",
    "supernet": "a supernet with shared weights",
}
FIELDS: tuple[Field, ...] = ("ratio", "igd_plus", "networks")


def prepare(report: Reproduction) -> dict[str, Any]:
    """The page's data by name, from the checked contents of a reproduction."""
    return {
        "title": f"MODNAS on NAS-Bench-201{f': {report.task}' if report.task else ''}",
        "about": _facts(report),
        "report": report,
        "tiles": _tiles(report),
        "targets": targets(report),
        "labels": list(enumerate(method.label for method in report.methods)),
        "methods": _methods(report),
        "devices": _devices(report),
        "counted": _counted(report),
        "curves": _curves(report),
        "fronts": [
            Place(f"front-{i}", f"{device.name}{', unseen' * (device.split == 'unseen')}", shared=True)
            for i, device in enumerate(report.devices)
        ],
        "qualities": _qualities(report.predictor) if report.predictor else [],
        "ablations": _ablations(report.ablations),
        "tasks": _tasks(report) if report.transfer else [],
        "splits": [(each, _summary(each.runs, each.search, each.unseen)) for each in report.splits],
        "three": _three(report.three_objectives) if report.three_objectives else [],
        "protocol": PROTOCOL,
    }


def _facts(report: Reproduction) -> Facts:
    return [
        ("Task", report.task),
        ("Errors in the search from", SOURCES.get(report.source or "", "")),
        ("Seeds", ", ".join(map(str, report.seeds))),
        ("Machine", machine_words(report.machine)),
        ("Software", software_words(report.package, report.machine)),
        ("Everything took", "" if report.seconds is None else duration(report.seconds)),
    ]


def _tiles(report: Reproduction) -> list[Tile]:
    runs = report.methods[0].runs if report.methods else []
    tiles = []
    for split in SPLIT_NAMES:
        if names := report.names(split):
            values = split_values(runs, names, "ratio")
            spread = f"± {number(statistics.stdev(values), 4)} over {len(values)} seeds; " if len(values) > 1 else ""
            detail = f"{spread}mean of {len(names)} devices"
            tiles.append(Tile(f"Hypervolume ratio, {split}", number(mean(values), 4), detail, split))
    networks = split_values(runs, [device.name for device in report.devices], "networks")
    detail = "distinct and non-dominated, of 24 rays"
    tiles.append(Tile("Networks per device", number(mean(networks), 1), detail))
    if seconds := present(run.seconds for run in runs):
        tiles.append(Tile("One search", duration(statistics.fmean(seconds)), "wall clock, mean over seeds"))
    if report.evaluations is not None:
        tiles.append(Tile("True evaluations", f"{report.evaluations:,.0f}", "per search, for all devices together"))
    return tiles


def _methods(report: Reproduction) -> list[dict[str, Any]]:
    """Per method: label, evaluations, samples per split of each field, and whether its mean ratios are the best."""
    rows = []
    for method in report.methods:
        counted = method.evaluations_note or number(mean(run.evaluations for run in method.runs), 0)
        names = [report.names(split) for split in SPLIT_NAMES]
        samples: dict[str, Any] = {
            field: [split_values(method.runs, each, field) for each in names] for field in FIELDS
        }
        seconds = present(run.seconds for run in method.runs)
        rows.append({"label": method.label, "counted": counted, "seconds": seconds, **samples})
    best = [_best([row["ratio"][side] for row in rows]) for side, _ in enumerate(SPLIT_NAMES)]
    return [row | {"best": [place == each for each in best]} for place, row in enumerate(rows)]


def _devices(report: Reproduction) -> dict[str, list[tuple[Any, ...]]]:
    """Per split: (device, [(sample of ratios, sample of hypervolumes)] per method, place of the best method)."""
    rows: dict[str, list[tuple[Any, ...]]] = {split: [] for split in SPLITS}
    for device in report.devices:
        ratios = [device_values(method.runs, device.name, "ratio") for method in report.methods]
        below = [device_values(method.runs, device.name, "hypervolume") for method in report.methods]
        rows[device.split].append((device, list(zip(ratios, below, strict=True)), _best(ratios)))
    return {split: group for split, group in rows.items() if group}


def _counted(report: Reproduction) -> str:
    labels: dict[str, list[str]] = {}
    for method in report.methods:
        labels.setdefault(method.evaluations_note, []).append(method.label)
    counts = "; ".join(f"{words} ({', '.join(each)})" for words, each in labels.items() if words)
    return f"True evaluations: {counts}." if counts else ""


def _curves(report: Reproduction) -> list[Place]:
    words = {"seconds": "search time", "evaluations": "true evaluations"}
    return [
        Place(f"curve-{axis}-{split}", f"{split.capitalize()} devices, over {words[axis]}", shared=True)
        for axis, split in curves(report)
    ]


def _qualities(quality: PredictorQuality) -> list[tuple[Any, ...]]:
    """Per split: (split, [(name, quality)], means as trained, means of what was adapted)."""
    groups = []
    fields = "spearman", "kendall", "relative_error"
    for split in SPLIT_NAMES:
        if group := [(name, part) for name, part in quality.devices.items() if part.split == split]:
            adapted = [part.adapted for _, part in group if part.adapted is not None]
            means = [averages(parts, *fields) for parts in ([part for _, part in group], adapted)]
            groups.append((split, group, *means))
    return groups


def _ablations(ablations: Sequence[Ablation]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Per factor: its values with a sample of each quantity, per split where it has splits."""
    return [
        (factor, [_ablation(each) for each in group])
        for factor, group in groupby(ablations, key=lambda ablation: ablation.factor)
    ]


def _ablation(ablation: Ablation) -> dict[str, Any]:
    runs = ablation.runs
    fields = "seconds", "gradient_cosine", "weights_spread"
    return {
        "value": ablation.value,
        "default": ablation.default,
        "ratio": [ablation_values(runs, split) for split in SPLIT_NAMES],
        "networks": [present(run.networks.get(split) for run in runs) for split in SPLIT_NAMES],
        **{field: present(getattr(run, field) for run in runs) for field in fields},
    }


def _tasks(report: Reproduction) -> list[tuple[str, dict[str, Any]]]:
    source = [(report.task or "this task", report.methods[0].runs)] if report.methods else []
    every = [*source, *((each.task, each.runs) for each in report.transfer)]
    return [(task, _summary(runs, report.names("search"), report.names("unseen"))) for task, runs in every]


def _summary(runs: Sequence[Run], search: Sequence[str], unseen: Sequence[str]) -> dict[str, Any]:
    name, ratio = worst_device(runs, [*search, *unseen]) or ("–", None)
    return {
        "ratio": [split_values(runs, names, "ratio") for names in (search, unseen)],
        "networks": split_values(runs, [*search, *unseen], "networks"),
        "seconds": present(run.seconds for run in runs),
        "lowest": ratio,
        "lowest_on": name + " (unseen)" * (name in unseen),
    }


def _three(three: ThreeObjectives) -> list[tuple[str, float | None, list[list[float]]]]:
    """(device, exact hypervolume, samples of hypervolume and the fields of a method)."""
    fields: tuple[Field, ...] = ("hypervolume", *FIELDS)
    return [
        (name, three.exact_hypervolume.get(name), [device_values(three.runs, name, field) for field in fields])
        for name in three.devices
    ]


def _best(samples: Sequence[Sequence[float]]) -> int | None:
    """The place of the highest mean, the first of several; None where there is no contest."""
    known = [(statistics.fmean(values), -place) for place, values in enumerate(samples) if values]
    return -max(known)[1] if len(known) > 1 else None
