"""The tables of black-box searches: scores of every run, and the way there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modnas_fast.report.checked import Part, read_part
from modnas_fast.report.reproduction.contents import Merit
from modnas_fast.report.reproduction.numbers import AXIS_TITLES, Axis, mean_of_curves
from modnas_fast.report.tables.records import Record, Tables, of_step
from modnas_fast.runtime.errors import InputError

FILE = "baselines.json"


class ContestRun(Part):
    """One search: a method on a device with a seed."""

    method: str
    device: str
    seed: int
    evaluations: int
    seconds: float
    score: Merit
    #: evaluations, and the share of the exact front's hypervolume after them
    curve: list[tuple[int, float]]
    #: when the search had them; None in runs of before
    curve_seconds: list[float | None] | None = None

    def passed(self) -> list[float | None]:
        """Seconds at each point of the curve, as far as they were kept."""
        return self.curve_seconds or [None] * len(self.curve)

    def points(self, axis: Axis) -> list[tuple[float, float]]:
        """The curve over evaluations or seconds by rising positive x."""
        over = self.passed() if axis == "seconds" else [evaluations for evaluations, _ in self.curve]
        pairs = zip(over, (ratio for _, ratio in self.curve), strict=True)
        return sorted({x: ratio for x, ratio in pairs if x is not None and x > 0}.items())


class ContestRuns(Part):
    """`baselines.json` of `modnas-fast baselines`."""

    space: str
    runs: list[ContestRun]


def read_contest(folder: Path) -> ContestRuns:
    """The checked content of baselines.json. Raises InputError where it is absent or damaged."""
    content = read_part(folder / FILE, ContestRuns, "contest")
    if content is None:
        raise InputError(f"{folder / FILE} does not exist: make it with `modnas-fast baselines`")
    return content


def contest_tables(folder: Path) -> Tables:
    """`scores`, `anytime` and `anytime_mean` of the runs in a folder of baselines."""
    runs = read_contest(folder).runs
    return {
        "scores": [{**_of(run), **_merits(run)} for run in runs],
        "anytime": [record for run in runs for record in _anytime(run)],
        "anytime_mean": list(_anytime_mean(runs)),
    }


def _of(run: ContestRun) -> dict[str, Any]:
    return {"method": run.method, "seed": run.seed, "device": run.device}


def _merits(run: ContestRun) -> Record:
    return {
        "evaluations": run.evaluations,
        "seconds": run.seconds,
        "hypervolume": run.score.hypervolume,
        "ratio": run.score.ratio,
        "igd_plus": run.score.igd_plus,
        "networks": run.score.networks,
    }


def _anytime(run: ContestRun) -> Iterator[Record]:
    for (evaluations, ratio), seconds in zip(run.curve, run.passed(), strict=True):
        yield {**_of(run), "evaluations": evaluations, "seconds": seconds, "ratio": ratio}


def _anytime_mean(runs: list[ContestRun]) -> Iterator[Record]:
    for method, device in dict.fromkeys((run.method, run.device) for run in runs):
        of_seeds = [run for run in runs if (run.method, run.device) == (method, device)]
        for axis in AXIS_TITLES:
            for step in mean_of_curves([run.points(axis) for run in of_seeds]):
                yield {"method": method, "device": device, **of_step(axis, step)}
