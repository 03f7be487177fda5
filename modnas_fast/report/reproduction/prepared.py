"""What the page of a reproduction shows, as plain data with the names and units of its metrics.

A sample is a list with one value per seed; the page shows its mean and its standard deviation.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from modnas_fast.report.marks import SPLITS, capital, duration, mean, mean_sd, number, percent
from modnas_fast.report.prepared import (
    Cell,
    Facts,
    Group,
    Place,
    Table,
    Tile,
    averages,
    cells,
    machine_words,
    software_words,
)
from modnas_fast.report.reproduction.contents import (
    Ablation,
    DeviceSplit,
    PredictorQuality,
    Quality,
    Reproduction,
    Run,
    ThreeObjectives,
)
from modnas_fast.report.reproduction.numbers import (
    SPLIT_NAMES,
    Field,
    ablation_values,
    curves,
    device_values,
    part_values,
    present,
    split_values,
    targets,
    worst_device,
)

SOURCES = {
    "surrogate": "the table's true errors, through a surrogate that is fitted to those looked up",
    "supernet": "a supernet with shared weights",
}
SUMMARY = ("Ratio, search", "Ratio, unseen", "Networks", "Seconds", "Lowest ratio", "Lowest on")


def prepare(report: Reproduction) -> dict[str, Any]:
    """The page's data by name, from the checked contents of a reproduction."""
    return {
        "title": f"MODNAS on {report.benchmark}{f': {report.task}' if report.task else ''}",
        "about": _facts(report),
        "report": report,
        "tiles": _tiles(report),
        "labels": list(enumerate(method.label for method in report.methods)),
        "tables": _tables(report),
        "counted": _counted(report),
        "curves": _curves(report),
        "fronts": [
            Place(f"front-{i}", f"{device.name}{', unseen' * (device.split == 'unseen')}", shared=True)
            for i, device in enumerate(report.devices)
        ],
        "protocol": report.protocol,
    }


def _tables(report: Reproduction) -> dict[str, Table | None]:
    """The tables by their parts of the page; None where there is nothing to show."""
    return {
        "targets": _targets(report) if report.methods and report.targets else None,
        "methods": _methods(report) if report.methods and report.devices else None,
        "devices": _devices(report),
        "parts": _parts(report),
        "published": _published(report),
        "predictor": _predictor(report.predictor, report.cost.name)
        if report.predictor and report.predictor.devices
        else None,
        "ablations": _ablations(report.ablations) if report.ablations else None,
        "tasks": _tasks(report) if report.transfer else None,
        "splits": _splits(report.splits) if report.splits else None,
        "three": _three(report.three_objectives) if report.three_objectives else None,
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


def _targets(report: Reproduction) -> Table:
    marks = {None: Cell("not measured"), True: Cell("✓ met", "good"), False: Cell("✗ missed", "bad")}
    rows = [[*cells(t.name, f"{t.wanted:g}", number(t.reached, t.digits)), marks[t.met]] for t in targets(report)]
    caption = f"{report.methods[0].label}: what was wanted and what was reached"
    return Table(caption, ("", "Wanted, at least", "Reached", ""), [Group(rows)], "targets")


def _methods(report: Reproduction) -> Table:
    names = [report.names(split) for split in SPLIT_NAMES]
    ratios = [[split_values(method.runs, each, "ratio") for each in names] for method in report.methods]
    best = [_best([sample[side] for sample in ratios]) for side, _ in enumerate(SPLIT_NAMES)]
    rows = []
    for place, (method, samples) in enumerate(zip(report.methods, ratios, strict=True)):
        counted = method.evaluations_note or number(mean(run.evaluations for run in method.runs), 0)
        row = [Cell(method.label, below=counted)]
        row += [Cell(mean_sd(each, 4), "best" * (at == place)) for each, at in zip(samples, best, strict=True)]
        row += cells(*(mean_sd(split_values(method.runs, each, "igd_plus"), 4) for each in names))
        row += cells(*(mean_sd(split_values(method.runs, each, "networks"), 1) for each in names))
        rows.append([*row, Cell(mean_sd(present(run.seconds for run in method.runs), 1))])
    head = [f"{word}, {split}" for word in ("Ratio", "IGD+", "Networks") for split in SPLIT_NAMES]
    caption = "Every method and its true evaluations: mean over devices, ± over seeds; bold: best ratio"
    return Table(caption, ("Method", *head, "Seconds"), [Group(rows)], "methods sticky")


def _devices(report: Reproduction) -> Table:
    groups: dict[str, list[list[Cell]]] = {split: [] for split in SPLITS}
    for device in report.devices:
        ratios = [device_values(method.runs, device.name, "ratio") for method in report.methods]
        best = _best(ratios)
        measured = device.measured_hypervolume
        below = "" if measured is None else f"{number(measured, 4)} as measured"
        row = [Cell(device.name), Cell(number(device.exact_hypervolume, 4), below=below)]
        for place, (method, sample) in enumerate(zip(report.methods, ratios, strict=True)):
            below = mean_sd(device_values(method.runs, device.name, "hypervolume"), 4)
            row.append(Cell(mean_sd(sample, 4), "best" * (place == best), below))
        groups[device.split].append(row)
    caption = f"Hypervolume ratio to the {report.exact}, and hypervolume below it; bold: best ratio of the device"
    head = ("Device", f"Hypervolume, {report.exact}", *(method.label for method in report.methods))
    shown = [Group(rows, capital(SPLITS[split]), split) for split, rows in groups.items() if rows]
    return Table(caption, head, shown, "matrix whole sticky")


def _parts(report: Reproduction) -> Table | None:
    """Ratios inside the parts of the space, where they were compared."""
    runs = [run for method in report.methods for run in method.runs]
    parts = list(dict.fromkeys(part for run in runs for found in run.parts.values() for part in found))
    if not parts:
        return None
    columns = [(part, split) for part in parts for split in SPLIT_NAMES if report.names(split)]
    samples = [
        [part_values(method.runs, report.names(split), part) for part, split in columns] for method in report.methods
    ]
    best = [_best([row[at] for row in samples]) for at, _ in enumerate(columns)]
    rows = [
        [Cell(method.label), *(Cell(mean_sd(s, 4), "best" * (at == place)) for s, at in zip(row, best, strict=True))]
        for place, (method, row) in enumerate(zip(report.methods, samples, strict=True))
    ]
    caption = f"Inside each part of the space: hypervolume ratio to the {report.exact} there; bold: best"
    return Table(caption, ("Method", *(f"{part}, {split}" for part, split in columns)), [Group(rows)], "sticky")


def _published(report: Reproduction) -> Table | None:
    """How many of the published networks each method's fronts dominate or equal, per device."""
    if not (published := report.published) or not published.covered:
        return None
    names = [device.name for device in report.devices]
    rows = [
        [
            Cell(method.label),
            *(Cell(mean_sd(published.covered.get(method.name, {}).get(name, []), 1)) for name in names),
        ]
        for method in report.methods
    ]
    counts = {name: len(points) for name, points in published.points.items()}
    alike = len(set(counts.values())) == 1
    number_of = f"{next(iter(counts.values()))} " if alike else ""
    caption = f"Of {number_of}published networks, dominated or equalled: mean ± deviation over seeds"
    heads = names if alike else [f"{name}, of {counts.get(name, 0)}" for name in names]
    return Table(caption, ("Method", *heads), [Group(rows)], "published sticky")


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


def _predictor(quality: PredictorQuality, cost: str) -> Table:
    groups = []
    for split in SPLIT_NAMES:
        if group := [(name, part, part.adapted) for name, part in quality.devices.items() if part.split == split]:
            trained: list[Quality] = [part for _, part, _ in group]
            known = [adapted for *_, adapted in group if adapted is not None]
            means = [Quality(**averages(each, "spearman", "kendall", "relative_error")) for each in (trained, known)]
            rows = [cells(name, *_merits(part), *_merits(adapted)) for name, part, adapted in group]
            rows.append([Cell("mean", "mean"), *cells(*_merits(means[0]), *_merits(means[1]))])
            groups.append(Group(rows, capital(SPLITS[split]), split))
    head = ("Spearman", "Kendall", "Mean error")
    caption = f"Predicted against measured {cost}: as trained, and adapted to that of ten networks on the device"
    return Table(caption, ("Device", *head, *(f"{word}, adapted" for word in head)), groups, "whole sticky")


def _merits(quality: Quality | None) -> tuple[str, str, str]:
    if quality is None:
        return "–", "–", "–"
    return number(quality.spearman), number(quality.kendall), percent(quality.relative_error)


def _ablations(ablations: Sequence[Ablation]) -> Table:
    groups = [
        Group([_ablation(each) for each in group], factor)
        for factor, group in groupby(ablations, key=lambda ablation: ablation.factor)
    ]
    head = [f"{word}, {split}" for word in ("Ratio", "Networks") for split in SPLIT_NAMES]
    head = ["Value", *head, "Seconds", "Gradient cosine", "Spread of weights"]
    return Table("Each factor changed alone: mean ± standard deviation over seeds", head, groups)


def _ablation(ablation: Ablation) -> list[Cell]:
    runs = ablation.runs
    ratios = [mean_sd(ablation_values(runs, split), 4) for split in SPLIT_NAMES]
    networks = [mean_sd(present(run.networks.get(split) for run in runs), 1) for split in SPLIT_NAMES]
    seconds = mean_sd(present(run.seconds for run in runs), 1)
    rest = [mean_sd(present(getattr(run, field) for run in runs)) for field in ("gradient_cosine", "weights_spread")]
    return [Cell(ablation.value, below="default" * ablation.default), *cells(*ratios, *networks, seconds, *rest)]


def _tasks(report: Reproduction) -> Table:
    source = [(report.task or "this task", report.methods[0].runs)] if report.methods else []
    every = [*source, *((each.task, each.runs) for each in report.transfer)]
    rows = [_summary(task, runs, report.names("search"), report.names("unseen")) for task, runs in every]
    return Table("Every task: mean over devices, ± over seeds", ("Task", *SUMMARY), [Group(rows)])


def _splits(splits: Sequence[DeviceSplit]) -> Table:
    rows = [
        _summary(f"{place}: {len(each.search)} + {len(each.unseen)}", each.runs, each.search, each.unseen)
        for place, each in enumerate(splits, start=1)
    ]
    return Table("Every split: mean over devices, ± over seeds", ("Search + unseen devices", *SUMMARY), [Group(rows)])


def _summary(name: str, runs: Sequence[Run], search: Sequence[str], unseen: Sequence[str]) -> list[Cell]:
    lowest_on, lowest = worst_device(runs, [*search, *unseen]) or ("–", None)
    ratios = [mean_sd(split_values(runs, names, "ratio"), 4) for names in (search, unseen)]
    networks = mean_sd(split_values(runs, [*search, *unseen], "networks"), 1)
    seconds = mean_sd(present(run.seconds for run in runs), 1)
    return cells(name, *ratios, networks, seconds, number(lowest, 4), lowest_on + " (unseen)" * (lowest_on in unseen))


def _three(three: ThreeObjectives) -> Table:
    fields: dict[Field, int] = {"hypervolume": 4, "ratio": 4, "igd_plus": 4, "networks": 1}
    rows = []
    for name in three.devices:
        found = [mean_sd(device_values(three.runs, name, field), digits) for field, digits in fields.items()]
        rows.append(cells(name, number(three.exact_hypervolume.get(name), 4), *found))
    head = ("Device", "Exact hypervolume", "Hypervolume", "Ratio", "IGD+", "Networks")
    return Table("Three objectives: mean ± standard deviation over seeds", head, [Group(rows)])


def _best(samples: Sequence[Sequence[float]]) -> int | None:
    """The place of the highest mean, the first of several; None where there is no contest."""
    known = [(statistics.fmean(values), -place) for place, values in enumerate(samples) if values]
    return -max(known)[1] if len(known) > 1 else None
