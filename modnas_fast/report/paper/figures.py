"""Which figures a folder has for a paper, as Plotly's plain JSON by the names of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from modnas_fast.report.marks import SYMBOLS
from modnas_fast.report.quantities import Quantity
from modnas_fast.report.reproduction.contents import FILE as REPRODUCTION_FILE
from modnas_fast.report.reproduction.contents import CurvePoint, Method, Run, read_reproduction
from modnas_fast.report.reproduction.figures import curve_figure, reproduction_figures
from modnas_fast.report.reproduction.numbers import AXIS_TITLES
from modnas_fast.report.run.contents import Result, read_run
from modnas_fast.report.run.figures import all_figures
from modnas_fast.report.run.fronts import front_name, pairs_of
from modnas_fast.report.tables.of_contest import FILE as CONTEST_FILE
from modnas_fast.report.tables.of_contest import ContestRun, read_contest
from modnas_fast.report.traces import Figure
from modnas_fast.runtime.errors import InputError

RESULT_FILE = "result.json"
#: of lines: where symbols begin again, dashed ones follow, then dotted ones
DASHES = ("solid", "dash", "dot")
Figures = dict[str, Figure]


def paper_figures(folder: Path) -> Figures:
    """The figures of a search, a reproduction or baselines: fronts per device and anytime curves, as far as it has any.

    Raises InputError where the folder holds nothing finished, or a damaged file.
    """
    if (folder / RESULT_FILE).exists():
        return _of_run(folder)
    if (folder / REPRODUCTION_FILE).exists():
        return _of_reproduction(folder)
    if (folder / CONTEST_FILE).exists():
        return _of_contest(read_contest(folder).runs)
    names = f"{RESULT_FILE}, {REPRODUCTION_FILE} and {CONTEST_FILE}"
    raise InputError(f"{folder} has none of {names}: give the folder of a finished search, reproduce or baselines")


def preference_of(folder: Path) -> Quantity | None:
    """The quality whose weight in the preferences colours a run's fronts; None where no weight alone does."""
    if not (folder / RESULT_FILE).exists():
        return None
    objectives = read_run(folder).result.objectives
    return objectives[0] if len(objectives) != 3 else None


def _of_run(folder: Path) -> Figures:
    contents = read_run(folder).narrowed()
    result, every = contents.result, all_figures(contents)
    found = {
        f"front{'' if place == 0 else f'_{place + 1}'}_{_file(device.name)}": every[front_name(index, place)]
        for index, device in enumerate(result.devices)
        for place in range(len(pairs_of(result)))
    }
    if "hypervolume" in every:
        found["anytime_steps"] = _told_apart(every["hypervolume"], result)
    return found


def _told_apart(figure: Figure, result: Result) -> Figure:
    """The curves alone, each device with a symbol and a dash of its own: open symbols are unseen devices."""
    traces = []
    for trace in figure["data"]:
        if trace["mode"] != "markers":
            at = trace["meta"]
            symbol = SYMBOLS[at % len(SYMBOLS)] + "-open" * result.devices[at].unseen
            dash = DASHES[at // len(SYMBOLS) % len(DASHES)]
            traces.append(
                trace | {"line": trace["line"] | {"dash": dash}, "marker": trace["marker"] | {"symbol": symbol}}
            )
    return figure | {"data": traces}


def _of_reproduction(folder: Path) -> Figures:
    report = read_reproduction(folder)
    every = reproduction_figures(report)
    found = {f"front_{_file(device.name)}": every[f"front-{at}"] for at, device in enumerate(report.devices)}
    found |= {name.replace("curve-", "anytime_").replace("-", "_"): every[name] for name in every if "curve-" in name}
    return found | ({"dots": every["dots"]} if "dots" in every else {})


def _of_contest(runs: Sequence[ContestRun]) -> Figures:
    """A curve per method over each axis, device by device."""
    found = {}
    for device in dict.fromkeys(run.device for run in runs):
        methods = [
            Method(
                name=name, label=name, runs=[_run(run) for run in runs if (run.device, run.method) == (device, name)]
            )
            for name in dict.fromkeys(run.method for run in runs)
        ]
        for axis in AXIS_TITLES:
            figure = curve_figure(methods, axis, "search")
            if figure["data"]:
                figure["layout"]["xaxis"]["title"] = {"text": axis}  # of this device alone
                found[f"anytime_{axis}_{_file(device)}"] = figure
    return found


def _run(run: ContestRun) -> Run:
    points = zip(run.curve, run.passed(), strict=True)
    curve = [CurvePoint(evaluations=at, seconds=seconds, ratio={"search": ratio}) for (at, ratio), seconds in points]
    return Run(seed=run.seed, curve=curve)


def _file(device: str) -> str:
    return quote(device, safe="")
