"""What the page of a run shows, as plain data with the names and units of its metrics."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from modnas_fast.report.marks import SPLITS, capital, duration, mean, number, percent, smoothing_window, spread
from modnas_fast.report.prepared import Facts, Place, Tile, averages, machine_words, software_words
from modnas_fast.report.quantities import ERROR, LATENCY
from modnas_fast.report.run.contents import DeviceResult, FrontPoint, History, LatencyPair, Result, RunContents

CELLS_SHOWN = 6
AVERAGED = ("noise", "spearman", "hypervolume", "hypervolume_random", "hypervolume_ratio", "distinct_nondominated")


class Group(NamedTuple):
    """The devices of a split, each with its place among all, and their average where there are several."""

    split: str
    title: str
    devices: Sequence[tuple[int, DeviceResult]]
    average: DeviceResult | None


def prepare(contents: RunContents) -> dict[str, Any]:
    """The page's data by name, from the checked contents of a run."""
    result, quality = contents.result, contents.predictor
    devices = list(enumerate(result.devices))
    configuration = json.dumps(result.configuration, indent=2, ensure_ascii=False)
    return {
        "title": f"MODNAS search: {result.task.name} on {result.space.name}",
        "about": _facts(result),
        "tiles": _tiles(result),
        "error": ERROR,
        "cost": LATENCY,
        "result": result,
        "history": contents.history,
        "quality": quality,
        "devices": devices,
        "groups": _groups(devices),
        "bounds": [_bounds(device) for device in result.devices],
        "fronts": [front_table(device.front, result.tabulated) for device in result.devices],
        "chosen": [spread(device.front, CELLS_SHOWN) for device in result.devices],
        "places": _history(contents.history),
        "judged": [each for each in devices if quality is not None and each[1].name in quality.devices],
        "measured": _measured(devices, result),
        "stages": _stages(result.seconds),
        "configuration": configuration.encode("utf-8", "backslashreplace").decode("utf-8"),
    }


def front_table(front: Sequence[FrontPoint], tabulated: bool) -> tuple[list[str], list[list[str]]]:
    """Titles of the metrics' columns and each network's texts; measured beside predicted unless all are true."""
    error, cost = ERROR.unit, capital(LATENCY.titled())
    if tabulated:
        return [f"True error ({error})", cost], [[ERROR.text(p.error), LATENCY.text(p.latency_ms)] for p in front]
    head = [f"Error ({error})", f"Test error ({error})", cost, f"Measured ({LATENCY.unit})"]
    errors = [[ERROR.text(point.error), ERROR.text(point.test_error)] for point in front]
    costs = [[LATENCY.text(point.latency_ms), LATENCY.text(point.measured_latency_ms)] for point in front]
    return head, [left + right for left, right in zip(errors, costs, strict=True)]


def _facts(result: Result) -> Facts:
    task = result.task
    image = "×".join(map(str, task.image)) if task.image else ""
    classes = f"{task.classes} classes" if task.classes is not None else ""
    networks = getattr(result.space, "num_architectures", None)
    return [
        ("Task", ", ".join(text for text in (task.name, classes, image) if text)),
        ("Images", ", ".join(f"{size} {name}" for name, size in task.sizes.items())),
        ("Space", result.space.name + (f", {networks:,} architectures" if isinstance(networks, int) else "")),
        ("Objectives", ", ".join(f"{o.name} ({o.unit})" if o.unit else o.name for o in result.objectives)),
        ("Seed", "" if result.seed is None else str(result.seed)),
        ("Machine", machine_words(result.machine)),
        ("Software", software_words(result.package, result.machine)),
    ]


def _groups(devices: Sequence[tuple[int, DeviceResult]]) -> list[Group]:
    groups = []
    for split, title in SPLITS.items():
        if group := [(index, device) for index, device in devices if device.split == split]:
            average = group[0][1].model_copy(update=averages([device for _, device in group], *AVERAGED))
            groups.append(Group(split, title.capitalize(), group, average if len(group) > 1 else None))
    return groups


def _tiles(result: Result) -> list[Tile]:
    splits = {split: [device for device in result.devices if device.split == split] for split in SPLITS}
    tiles = [_hypervolume_tile(group, split) for split, group in splits.items() if group]
    rays = max(len(device.rays) for device in result.devices)
    distinct = mean(device.distinct_nondominated for device in result.devices)
    tiles.append(Tile("Networks per front", number(distinct, 1), f"distinct, of {rays} rays, mean over devices"))
    tiles.append(_spearman_tile(result, *(mean(device.spearman for device in group) for group in splits.values())))
    if errors := _relative_errors(pair for network in result.verified for pair in network.latency_ms.values()):
        counts = f"{len(errors)} measurements of {len(result.verified)} networks"
        middle = percent(statistics.median(errors))
        tiles.append(Tile("Verified", middle, f"{LATENCY.name} error, median over {counts}"))
    if result.seconds:
        tiles.append(Tile("Whole run", duration(sum(result.seconds.values())), "all stages, as measured"))
    return tiles


def _hypervolume_tile(group: Sequence[DeviceResult], split: str) -> Tile:
    ours, random, ratio = averages(group, "hypervolume", "hypervolume_random", "hypervolume_ratio").values()
    versus = f"random search {number(random)}"
    if ours is not None and random:
        versus += f" ({percent(ours / random - 1, signed=True)})"
    if ratio is not None:
        versus += f"; {percent(ratio)} of the exact front"
    return Tile(f"Hypervolume, {split}", number(ours), f"mean of {len(group)}; {versus}", split)


def _spearman_tile(result: Result, search: float | None, unseen: float | None) -> Tile:
    networks = max((device.spearman_networks or 0 for device in result.devices), default=0)
    judged_on = f"{networks} held-out networks" if networks and not result.tabulated else result.judged_on
    detail = f"search devices, on {judged_on}" + (f"; unseen {number(unseen)}" if unseen is not None else "")
    return Tile("Predictor, Spearman", number(search), detail)


def _bounds(device: DeviceResult) -> str:
    words = []
    for key, (low, high) in device.hypervolume_bounds.items():
        name, unit = (key[:-3], "ms") if key.endswith("_ms") else (key, "%" if key == "error" else "")
        words.append(f"{name} {low:.3g} to {high:.3g} {unit}".rstrip())
    return "; ".join(words)


def _history(log: History | None) -> list[Place]:
    """The figures over the search's steps, whether or not anything was logged for them."""
    window = smoothing_window(len(log.step)) if log is not None else 1
    smooth = f"Mean over the last {window} logged steps." if window > 1 else ""
    random = "Open diamonds behind the last step: random search. Dashed: unseen devices."
    weights = f"The weights sum to one. {smooth}".rstrip()
    return [
        Place("hypervolume", "Hypervolume over the search", random, True),
        Place("mgd-weights", "Weights of multiple gradient descent", weights, True),
        Place("task-loss", "Task loss", smooth, True),
        Place("latency", f"Predicted {LATENCY.name}", smooth, True),
        Place("gradient-cosine", "Agreement of the devices' gradients", f"Mean pairwise cosine. {smooth}".rstrip()),
    ]


def _measured(devices: Sequence[tuple[int, DeviceResult]], result: Result) -> list[tuple[Any, ...]]:
    """(index, device, predicted and measured cost of each verified network, median error) where any was measured."""
    rows = [(index, device, [n.latency_ms.get(device.name) for n in result.verified]) for index, device in devices]
    return [
        (*row, statistics.median(errors) if errors else None)
        for row in rows
        if any(row[2])
        for errors in [_relative_errors(row[2])]
    ]


def _relative_errors(pairs: Iterable[LatencyPair | None]) -> list[float]:
    return [abs(pair.relative_error) for pair in pairs if pair is not None and pair.relative_error is not None]


def _stages(seconds: dict[str, float]) -> list[tuple[str, float, float | None, float]]:
    """(name, seconds, share of all, share of the longest in percent)."""
    total, longest = sum(seconds.values()), max(seconds.values(), default=0)
    return [(n, s, s / total if total else None, 100 * s / longest if longest else 0) for n, s in seconds.items()]
