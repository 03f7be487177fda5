"""What the page of a reproduction computes from its runs: means over devices and seeds, curves, targets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from modnas_fast.report.marks import mean
from modnas_fast.report.reproduction.contents import (
    Ablation,
    AblationRun,
    CurvePoint,
    Method,
    Pair,
    ReproducedDevice,
    Reproduction,
    Run,
    SpatialRun,
    Split,
)

Field = Literal["hypervolume", "ratio", "igd_plus", "networks"]
Axis = Literal["seconds", "evaluations"]
AXIS_TITLES: dict[Axis, str] = {"seconds": "search time (s)", "evaluations": "true evaluations, all devices together"}
SPLIT_NAMES: tuple[Split, Split] = ("search", "unseen")


@dataclass(frozen=True)
class Target:
    """A quantity of the headline, what was wanted at least, and what was reached."""

    name: str
    wanted: float
    reached: float | None
    digits: int

    @property
    def met(self) -> bool | None:
        """Whether the exact value, not its rounded text, is large enough; None where nothing was reached."""
        return None if self.reached is None else self.reached >= self.wanted


def targets(report: Reproduction) -> list[Target]:
    """What MODNAS, the first method, was to reach and what it reached."""
    runs = report.methods[0].runs if report.methods else []
    every = [device.name for device in report.devices]
    search, unseen = (mean(split_values(runs, report.names(split), "ratio")) for split in SPLIT_NAMES)
    name, lowest = worst_device(runs, every) or ("", None)
    networks = mean(split_values(runs, every, "networks"))
    reached = {
        "search": ("Mean ratio, search devices", search, 4),
        "unseen": ("Mean ratio, unseen devices", unseen, 4),
        "lowest": (f"Lowest ratio of a device{name and f' ({name})'}", lowest, 4),
        "networks": ("Networks per device", networks, 1),
        "covered": _covered_target(report),
    }
    wanted = {key: value for key, value in report.targets.items() if key in reached}
    return [Target(reached[key][0], value, *reached[key][1:]) for key, value in wanted.items()]


def _covered_target(report: Reproduction) -> tuple[str, float | None, int]:
    """Of the published networks, how many are dominated or equalled on the device where the fewest are."""
    found = report.published.covered.get(report.methods[0].name, {}) if report.published and report.methods else {}
    means = {name: value for name, counts in found.items() if (value := mean(counts)) is not None}
    least = min(means, key=lambda name: means[name]) if means else ""
    total = len(report.published.networks) if report.published else 0
    words = f"Of {total} published networks, dominated or equalled{least and f' ({least})'}"
    return words, means.get(least), 1


def present(values: Iterable[float | None]) -> list[float]:
    """The values that are there."""
    return [value for value in values if value is not None]


def device_values(runs: Sequence[Run] | Sequence[SpatialRun], name: str, field: Field) -> list[float]:
    """One value per seed that has one for this device."""
    return present(getattr(run.devices[name], field) for run in runs if name in run.devices)


def split_values(runs: Sequence[Run], names: Sequence[str], field: Field) -> list[float]:
    """One mean over the devices per seed that has any of them."""
    return present(mean(getattr(run.devices[n], field) for n in names if n in run.devices) for run in runs)


def part_values(runs: Sequence[Run], names: Sequence[str], part: str) -> list[float]:
    """One mean ratio inside a part of the space over the devices per seed that has any of them."""
    return present(mean(run.parts[n][part].ratio for n in names if part in run.parts.get(n, {})) for run in runs)


def worst_device(runs: Sequence[Run], names: Sequence[str]) -> tuple[str, float] | None:
    """The device with the lowest mean ratio over seeds, and that ratio; None without any."""
    means = [(mean(device_values(runs, name, "ratio")), name) for name in names]
    known = [(value, name) for value, name in means if value is not None]
    return min(known)[::-1] if known else None


class Step(NamedTuple):
    """A place of a mean curve: mean over seeds, the lowest and the highest seed, and how many there are."""

    x: float
    mean: float
    low: float
    high: float
    seeds: int


def mean_curve(runs: Sequence[Run], axis: Axis, split: Split) -> list[Step]:
    """The mean over seeds at each x where any was measured, from where every seed has begun.

    Between its own measurements a seed is interpolated over log x; after its last one it stays as it is.

    >>> one = Run(curve=[CurvePoint(seconds=1, ratio={"search": 0.8}), CurvePoint(seconds=4, ratio={"search": 0.9})])
    >>> two = Run(curve=[CurvePoint(seconds=2, ratio={"search": 1.0})])
    >>> [(step.x, round(step.mean, 3)) for step in mean_curve([one, two], "seconds", "search")]
    [(2.0, 0.925), (4.0, 0.95)]
    """
    return mean_of_curves([_points(run.curve, axis, split) for run in runs])


def mean_of_curves(of_seeds: Sequence[Sequence[Pair]]) -> list[Step]:
    """The same of curves (x, y) by rising positive x; one without points is left out."""
    curves = [curve for curve in of_seeds if curve]
    if not curves:
        return []
    start = max(curve[0][0] for curve in curves)
    places = sorted({x for curve in curves for x, _ in curve if x >= start})
    values = np.stack([np.interp(np.log(places), *_log_columns(curve)) for curve in curves])  # [seed, place]
    columns = (values.mean(axis=0), values.min(axis=0), values.max(axis=0))
    rows = zip(places, *(column.tolist() for column in columns), strict=True)
    return [Step(x, middle, low, high, len(curves)) for x, middle, low, high in rows]


def in_units(device: ReproducedDevice, points: Sequence[Pair]) -> list[Pair]:
    """Normalised points as (cost, quality) in their units; normalised still where a range is unknown.

    >>> device = ReproducedDevice(name="a", split="search", quality_range=(5, 55), cost_range=(1, 3))
    >>> in_units(device, [(0.1, 0.5)])
    [(2.0, 10.0)]
    """
    if device.quality_range is None or device.cost_range is None:
        return [(cost, quality) for quality, cost in points]
    (low_q, high_q), (low_c, high_c) = device.quality_range, device.cost_range
    return [(low_c + cost * (high_c - low_c), low_q + quality * (high_q - low_q)) for quality, cost in points]


def has_units(device: ReproducedDevice) -> bool:
    """Whether the device's normalisation can be undone."""
    return device.quality_range is not None and device.cost_range is not None


def first_front(method: Method, device: ReproducedDevice) -> list[tuple[float, float]]:
    """(cost, quality) of the front that the method's first run found, fastest first."""
    score = method.runs[0].devices.get(device.name) if method.runs else None
    return sorted(in_units(device, score.front)) if score else []


def axis_titles(report: Reproduction, device: ReproducedDevice) -> tuple[str, str]:
    """Titles of the axes of a device's fronts, as `in_units` gives them."""
    quality, cost = "judged " * report.judged, "judged " * (report.judged and not report.exact_cost)
    if has_units(device):
        return cost + report.cost.titled, quality + report.quality.titled
    return f"{cost}{report.cost.name} (normalised)", f"{quality}{report.quality.name} (normalised)"


def radar_values(method: Method, devices: Sequence[ReproducedDevice]) -> list[float | None]:
    """The method's mean ratio on each device."""
    return [mean(device_values(method.runs, device.name, "ratio")) for device in devices]


def radar_floor(report: Reproduction) -> float:
    """Where the radial axis begins: a round ratio below all values, so that differences can be seen."""
    values = [v for method in report.methods for v in radar_values(method, report.devices) if v is not None]
    lowest = min(values, default=0.9)
    return max(0.0, math.floor(20 * (lowest - 0.01)) / 20)


def curves(report: Reproduction) -> list[tuple[Axis, Split]]:
    """The axes and splits for which any method has a curve."""
    return [
        (axis, split)
        for axis in AXIS_TITLES
        for split in SPLIT_NAMES
        if any(mean_curve(method.runs, axis, split) for method in report.methods)
    ]


@dataclass(frozen=True)
class Bar:
    """One value of a factor: per split, mean and standard deviation of what is missing, in percent."""

    factor: str
    value: str
    default: bool
    missing: dict[Split, Pair | None]
    gradient_cosine: float | None


def ablation_bars(ablations: Sequence[Ablation]) -> list[Bar]:
    """The bars of all values that have a ratio, in the order of the file."""
    bars = [
        Bar(a.factor, a.value, a.default, {split: _missing(a, split) for split in SPLIT_NAMES},
            mean(run.gradient_cosine for run in a.runs))
        for a in ablations
    ]  # fmt: skip
    return [bar for bar in bars if any(bar.missing.values())]


def ablation_values(runs: Sequence[AblationRun], split: Split) -> list[float]:
    """The ratio of every seed that has one."""
    return [ratio for run in runs if (ratio := run.ratio.get(split)) is not None]


def _missing(ablation: Ablation, split: Split) -> Pair | None:
    values = [100 * (1 - ratio) for ratio in ablation_values(ablation.runs, split)]
    if not values:
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _log_columns(curve: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.array(curve).T
    return np.log(x), y


def _points(curve: Sequence[CurvePoint], axis: str, split: Split) -> list[Pair]:
    """By rising x; of several ratios at one x the last.

    >>> _points([CurvePoint(seconds=2, ratio={"search": r}) for r in (0.9, 0.8)], "seconds", "search")
    [(2.0, 0.8)]
    """
    pairs = ((getattr(point, axis), point.ratio.get(split)) for point in curve)
    # A logarithmic axis has no place for what is not positive.
    return sorted({x: ratio for x, ratio in pairs if x is not None and x > 0 and ratio is not None}.items())
