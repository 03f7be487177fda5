"""What the page of a run shows, as plain data with the names and units of its objectives."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from modnas_fast.report.marks import (
    SOURCES,
    SPLITS,
    capital,
    count,
    mean,
    number,
    percent,
    signed,
    smoothing_window,
    span,
    spread,
)
from modnas_fast.report.prepared import Cell, Facts, Place, machine_words, software_words
from modnas_fast.report.quantities import Quantity
from modnas_fast.report.run.contents import (
    CostPredictor,
    Coverage,
    DeviceResult,
    FrontPoint,
    Predictor,
    Result,
    RunContents,
)
from modnas_fast.report.run.fronts import TRIANGLE, front_name, networks_of, pairs_of, value_words
from modnas_fast.report.run.limits import TERMS
from modnas_fast.report.run.tiles import relative_errors, tiles_of

CELLS_SHOWN = 6


class Column(NamedTuple):
    """A number of every device, how it is written, and whether its mean says anything."""

    title: str
    of: Callable[[DeviceResult], Any]
    text: Callable[[Any], str]
    averaged: bool = True
    tone: Callable[[float], str] = lambda _: ""

    def cell(self, value: Any) -> Cell:
        """The number as a cell; a dash where there is none."""
        return Cell("–") if value is None else Cell(self.text(value), self.tone(value))


def prepare(contents: RunContents) -> dict[str, Any]:
    """The page's data by name, from the checked contents of a run.

    The table has every device; figures, and what stands beside them, those that `RunContents.narrowed` keeps.
    """
    every, narrowed = contents.result, contents.narrowed()
    result = narrowed.result
    configuration = json.dumps(result.configuration, indent=2, ensure_ascii=False)
    columns = _columns(every)
    return {
        "title": f"MODNAS search: {result.task.name} on {result.space.name}",
        "about": _facts(result),
        "tiles": tiles_of(every),
        "terms": TERMS,
        "doubted": [device for device in every.devices if device.doubt],
        "many": _many(every, result),
        "result": result,
        "drawings": contents.drawings,
        "history": contents.history,
        "quality": contents.predictor,
        "head": ["Device", *(column.title for column in columns)],
        "groups": _groups(every, result, columns),
        "devices": list(enumerate(result.devices)),
        "panels": [_panel(result, index, columns) for index in range(len(result.devices))],
        "mixed": len(result.objectives) == TRIANGLE,
        "places": _history(narrowed),
        "predictors": _predictors(contents.predictor, result) if contents.predictor else [],
        "matrices": _matrices(result),
        "stages": _stages(result.seconds),
        "configuration": configuration.encode("utf-8", "backslashreplace").decode("utf-8"),
    }


def front_table(result: Result, front: Sequence[FrontPoint]) -> tuple[list[str], list[list[Cell]]]:
    """Titles and cells of every objective's columns, each marked with where its values come from.

    The title names the source where all values of a column share it, else each value does; what verification found has
    columns of its own.
    """
    head: list[str] = []
    columns: list[list[Cell]] = []
    for objective in result.objectives:
        sources = [result.source(point, objective) for point in front]
        single = len(set(sources)) == 1
        head.append(capital(objective.titled()) + (f", {sources[0]}" if single else ""))
        texts = [objective.text(point[objective]) for point in front]
        columns.append([Cell(t, below="" if single else s) for t, s in zip(texts, sources, strict=True)])
        checked = [point.checked(objective) for point in front]
        if any(value is not None for value in checked):
            word = "Test" if objective == result.quality else "Measured"
            head.append(objective.titled(word))
            columns.append([Cell(objective.text(value)) for value in checked])
    for name in dict.fromkeys(name for point in front for name in point.measures):
        head.append(f"{name}, inherited")
        columns.append([Cell(number(point.measures.get(name), 2)) for point in front])
    return head, [list(row) for row in zip(*columns, strict=True)]


def _facts(result: Result) -> Facts:
    task = result.task
    image = "×".join(map(str, task.image)) if task.image else ""
    classes = f"{task.classes} classes" if task.classes is not None else ""
    networks = getattr(result.space, "num_architectures", None)
    return [
        ("Task", ", ".join(text for text in (task.name, classes, image) if text)),
        ("Images" if task.image else "Sizes", ", ".join(f"{size} {name}" for name, size in task.sizes.items())),
        ("Space", result.space.name + (f", {networks:,} architectures" if isinstance(networks, int) else "")),
        ("Objectives", ", ".join(objective.titled() for objective in result.objectives)),
        ("Seed", "" if result.seed is None else str(result.seed)),
        ("Machine", machine_words(result.machine)),
        ("Software", software_words(result.package, result.machine)),
    ]


def _columns(result: Result) -> list[Column]:
    """The columns of the table of devices; one that no device has a number for is left out."""

    def of(field: str, cost: Quantity) -> Callable[[DeviceResult], Any]:
        return lambda device: getattr(device, field).get(cost.key)

    def ranked(cost: Quantity) -> Callable[[DeviceResult], float | None]:
        return lambda device: device.predictor[cost.key].spearman if cost.key in device.predictor else None

    def gap(device: DeviceResult) -> float | None:
        ours, random = device.hypervolume, device.hypervolume_random
        return None if ours is None or random is None else ours - random

    def beside(name: str) -> Callable[[DeviceResult], float | None]:
        return lambda device: device.baselines[name].hypervolume if name in device.baselines else None

    def tone(difference: float) -> str:
        return "good" if difference > 0 else "bad" if difference < 0 else ""

    costs, baselines = result.costs, list(result.devices[0].baselines)
    noise = [Column(f"Noise, {c.name}", of("noise", c), percent) for c in costs]
    rank = [Column(f"Spearman, {c.name}", ranked(c), number) for c in costs]
    ranges = [Column(capital(c.titled("", "range")), of("ranges", c), span, False) for c in costs]
    every = [
        *noise,
        *rank,
        Column("Hypervolume MODNAS", lambda device: device.hypervolume, number),
        Column("Hypervolume, with all evaluated", lambda device: device.hypervolume_front, number),
        Column("Hypervolume random", lambda device: device.hypervolume_random, number),
        Column("Difference", gap, signed, tone=tone),
        *[Column(f"Hypervolume {name}, as many evaluated", beside(name), number) for name in baselines],
        Column(f"Of the {result.exact_front}", lambda device: device.hypervolume_ratio, percent),
        Column("With all evaluated", lambda device: device.hypervolume_front_ratio, percent),
        Column("Of its measured front", lambda device: device.hypervolume_ratio_measured, percent),
        Column("Networks on rays", lambda device: device.distinct_nondominated, count),
        Column("Networks of the front", lambda device: device.front_networks, count),
        Column("More weight, no worse", lambda device: device.monotone, percent),
        Column("Front covered", lambda device: device.covered, percent),
        Column("Covered, with all evaluated", lambda device: device.covered_front, percent),
        Column("Networks in regions", lambda device: device.region_networks, count),
        *ranges,
    ]
    return [column for column in every if any(column.of(device) is not None for device in result.devices)]


def _many(every: Result, shown: Result) -> str:
    """What is said where not all devices have figures."""
    if not shown.left_out:
        return ""
    return (
        f"The table has all {len(every.devices)} devices, those with the least hypervolume first. Figures, fronts and "
        f"networks are shown of these {len(shown.devices)}; of others ask `modnas-fast front` and `pick`."
    )


def _groups(result: Result, shown: Result, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Per split: its title, its devices with their place among those shown and their cells, and those of their mean.

    A device that is not shown has no place. Of many devices those that fare worst come first.
    """
    groups, places = [], {device.name: place for place, device in enumerate(shown.devices)}
    for split, title in SPLITS.items():
        found = [device for device in result.devices if device.split == split]
        if shown.left_out:
            found.sort(key=lambda device: device.fares)
        rows = [(places.get(d.name), d, [column.cell(column.of(d)) for column in columns]) for d in found]
        means = [c.cell(mean(c.of(d) for d in found)) if c.averaged else Cell("") for c in columns]
        if rows:
            group = {"split": split, "title": capital(title), "rows": rows}
            groups.append(group | {"mean": means if len(rows) > 1 else None})
    return groups


def _panel(result: Result, index: int, columns: Sequence[Column]) -> dict[str, Any]:
    """What is shown of one device: facts, places of figures, the front's table and cards of networks along it."""
    device, cost = result.devices[index], result.costs[0]
    front = sorted(device.front, key=lambda point: point[cost])
    head, rows = front_table(result, front)
    networks = networks_of(device)
    verified = [any(point.checked(o) is not None for o in result.objectives) for point in front]
    pairs = pairs_of(result)
    found = [(column.title, column.of(device), column) for column in columns]
    facts = [(title, column.cell(value).text) for title, value, column in found if value is not None]
    judging = _judging(result)
    sources = {point.source(each) for point in device.points for each in result.costs}
    facts.append(("Hypervolume over", _bounds(result, device)))
    return {
        "facts": facts,
        "fronts": [Place(front_name(index, at), f"Front: {y.name} over {x.name}") for at, (y, x) in enumerate(pairs)],
        "predictors": [
            Place(f"predictor-{index}-{at}", f"Predictor of {each.name} on {judging} networks")
            for at, each in enumerate(result.costs)
        ],
        "sources": [source for source in SOURCES if source in sources],
        "verified": any(verified),
        "further": bool(device.further),
        "head": ["Architecture", "Preference " + " : ".join(o.name for o in result.objectives), *head],
        "rows": [
            (networks[point.architecture], point, cells, known)
            for point, cells, known in zip(front, rows, verified, strict=True)
        ],
        "cards": [
            (networks[p.architecture], p.architecture, value_words(result, p)) for p in spread(front, CELLS_SHOWN)
        ],
    }


def _bounds(result: Result, device: DeviceResult) -> str:
    known = {objective.key: objective for objective in result.objectives}
    words = []
    for key, bounds in device.hypervolume_bounds.items():
        quantity = known.get(key, Quantity(name=key, key=key))
        words.append(quantity.measured(f"{quantity.name} {span(bounds)}"))
    return "; ".join(words)


def _history(contents: RunContents) -> list[Place]:
    """The figures over the search's steps, whether or not anything was logged for them."""
    log = contents.history
    window = smoothing_window(len(log.step)) if log is not None else 1
    smooth = f"Mean over the last {window} logged steps." if window > 1 else ""
    random = "Open diamonds behind the last step: random search. Dashed: unseen devices."
    weights = f"The weights sum to one. {smooth}".rstrip()
    costs = enumerate(contents.result.costs)
    return [
        Place("hypervolume", "Hypervolume over the search", random, True),
        Place("mgd-weights", "Weights of multiple gradient descent", weights, True),
        Place("task-loss", "Task loss", smooth, True),
        *(Place(f"cost-{at}", f"Predicted {cost.name}", smooth, True) for at, cost in costs),
        Place("gradient-cosine", "Agreement of the devices' gradients", f"Mean pairwise cosine. {smooth}".rstrip()),
    ]


def _predictors(quality: Predictor, result: Result) -> list[dict[str, Any]]:
    """Per predicted cost: the place of its figure and its quality on each device that has one."""
    caption = "The dotted line is a perfect prediction. Open symbols: unseen devices."
    caption += " A random sample of the networks is shown." * result.exhaustive
    found = []
    for at, cost in enumerate(result.costs):
        every = ((index, device, quality.of(device, cost)) for index, device in enumerate(result.devices))
        if rows := [(index, device, part) for index, device, part in every if part is not None]:
            place = Place(f"predictor-all-{at}", f"Predicted over measured {cost.name}", caption, True)
            found.append({"cost": cost, "place": place, "rows": rows, "coverage": _coverage(rows, _judging(result))})
    return found


def _judging(result: Result) -> str:
    """What the networks are that judge predictions."""
    return "random" if result.exhaustive else "held-out"


def _coverage(rows: Sequence[tuple[int, DeviceResult, CostPredictor]], judging: str) -> dict[str, Any] | None:
    """Head and rows of how often bounds hold, and on how many devices too few networks tell; None in older runs."""
    levels = list(dict.fromkeys(level for *_, part in rows for level in part.coverage or {}))
    if not levels:
        return None
    told = []
    for index, device, part in rows:
        found = [(part.coverage or {}).get(level, Coverage()) for level in levels]
        if any(each.held_out is not None or each.chosen is not None for each in found):
            cells = [cell for each in found for cell in (percent(each.held_out), _of(each.chosen))]
            told.append((index, device, cells))
    names = [f"{percent(float(level), 0)}, {which}" for level in levels for which in (judging, "chosen")]
    return {"head": ["Device", *names], "rows": told, "lacking": len(rows) - len(told), "judging": judging}


def _of(pair: tuple[int, int] | None) -> str:
    """How many of how many.

    >>> _of((4, 5)), _of(None)
    ('4 of 5', '–')
    """
    return "–" if pair is None else f"{pair[0]} of {pair[1]}"


def _matrices(result: Result) -> list[tuple[Quantity, list[tuple[Any, ...]]]]:
    """Per cost that was measured of verified networks: (index, device, each network's pair, median error)."""
    matrices = []
    for cost in result.costs:
        rows = [(i, device, [n.pair(device, cost) for n in result.verified]) for i, device in enumerate(result.devices)]
        measured = [(*row, errors) for row in rows if any(row[2]) for errors in [relative_errors(row[2])]]
        if measured:
            matrices.append(
                (cost, [(*row, statistics.median(errors) if errors else None) for *row, errors in measured])
            )
    return matrices


def _stages(seconds: dict[str, float]) -> list[tuple[str, float, float | None, float]]:
    """(name, seconds, share of all, share of the longest in percent)."""
    total, longest = sum(seconds.values()), max(seconds.values(), default=0)
    return [(n, s, s / total if total else None, 100 * s / longest if longest else 0) for n, s in seconds.items()]
