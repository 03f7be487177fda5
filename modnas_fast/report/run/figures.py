"""The page's interactive figures over the search's steps and of the predictors, and all of them by their names."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from modnas_fast.report.marks import RANDOM_COLOUR, colour, device_symbol, running_mean, smoothing_window
from modnas_fast.report.quantities import Quantity
from modnas_fast.report.run.contents import CostPredictor, History, Predictor, Result, RunContents
from modnas_fast.report.run.fronts import device_figures
from modnas_fast.report.traces import FAINT, Figure, axis, diagonal, figure, scatter, value_axis

Rows = Sequence[Sequence[float | None]]


def all_figures(contents: RunContents) -> dict[str, Figure]:
    """Every figure of the page by its name; the third number of a name is the place of a pair or of a cost."""
    result = contents.result
    figures: dict[str, Figure] = {}
    for index in range(len(result.devices)):
        figures |= device_figures(result, index)
    if contents.history is not None:
        figures |= history_figures(contents.history, result)
    if contents.predictor is not None:
        for place, cost in enumerate(result.costs):
            figures |= predictor_figures(contents.predictor, result, place, cost)
    return figures


def history_figures(history: History, result: Result) -> dict[str, Figure]:
    """The figures over search steps, each only where something was logged for it."""
    figures = {}
    if history.hypervolume.step:
        figures["hypervolume"] = hypervolume_figure(history, result)
    if history.step and history.mgd_weights:
        figures["mgd-weights"] = weights_figure(history, result)
    if history.step and history.task_loss:
        figures["task-loss"] = _smoothed_figure(history, history.task_loss, result, "task loss")
    for place, cost in enumerate(result.costs):
        if history.step and (rows := history.costs.get(cost.key)):
            figures[f"cost-{place}"] = _smoothed_figure(history, rows, result, f"{cost.name} (normalised)")
    if history.step and any(value is not None for value in history.gradient_cosine):
        figures["gradient-cosine"] = cosine_figure(history)
    return figures


def hypervolume_figure(history: History, result: Result) -> Figure:
    """Hypervolume over search steps, with random search's as an open diamond behind the last step."""
    log = history.hypervolume
    traces = []
    for column, index in _columns(log.devices, result):
        values = [row[column] for row in log.values]
        traces.append(_curve(log.step, values, index, result, "lines+markers"))
        traces.append(_random_level(log.step, index, result))
    return figure(traces, axis("search step"), axis("hypervolume (of 1)"))


def weights_figure(history: History, result: Result) -> Figure:
    """The weights of multiple gradient descent over search steps, stacked: they sum to one."""
    window = smoothing_window(len(history.step))
    traces = [
        scatter(
            history.step, running_mean([row[column] for row in history.mgd_weights], window),
            result.devices[index].name, "lines", "%{fullData.name}: %{y:.3f}", stackgroup="weights", meta=index,
            line={"width": 0.8, "color": "#ffffff"}, fillcolor=colour(index),
        )
        for column, index in _columns(history.devices, result)
    ]  # fmt: skip
    return figure(traces, axis("search step"), axis("weight (share)", range=[0, 1]))


def cosine_figure(history: History) -> Figure:
    """The mean cosine between the devices' gradients over search steps, each step and smoothed."""
    smooth = running_mean(history.gradient_cosine, smoothing_window(len(history.step)))
    hover = "step %{x}: %{y:.3f}"
    faint: dict[str, Any] = {"line": {"color": RANDOM_COLOUR, "width": 1}, "opacity": 0.5}
    raw = scatter(history.step, history.gradient_cosine, "every step", "lines", hover, **faint)
    line = scatter(history.step, smooth, "smoothed", "lines", hover, line={"color": colour(0), "width": 2})
    y = axis("mean cosine", zeroline=True, zerolinecolor=FAINT)
    return figure([line] if smooth == history.gradient_cosine else [raw, line], axis("search step"), y)


def predictor_figures(predictor: Predictor, result: Result, place: int, cost: Quantity) -> dict[str, Figure]:
    """Predicted over measured values of the cost at this place: all devices at once, and each device alone."""
    found = [(index, predictor.of(device, cost)) for index, device in enumerate(result.devices)]
    known = [(index, part) for index, part in found if part is not None and part.measured]
    if not known:
        return {}
    figures = {f"predictor-{index}-{place}": _scatter_figure([(index, part)], result, cost) for index, part in known}
    return figures | {f"predictor-all-{place}": _scatter_figure(known, result, cost)}


def _scatter_figure(parts: Sequence[tuple[int, CostPredictor]], result: Result, cost: Quantity) -> Figure:
    every = [value for _, part in parts for value in (*part.measured, *part.predicted)]
    suffix = f" ({cost.unit})" if cost.unit else ""
    unit = f" {escape(cost.unit)}" if cost.unit else ""
    hover = f"%{{fullData.name}}<br>measured %{{x:.3g}}{unit}, predicted %{{y:.3g}}{unit}"
    traces = [
        scatter(
            part.measured, part.predicted, result.devices[index].name, hover=hover, meta=index,
            marker={"color": colour(index), "symbol": _symbol(index, result), "size": 7,
                    "line": {"width": 1, "color": "#ffffff"}},
        )
        for index, part in parts
    ]  # fmt: skip
    x, y = (value_axis(f"{word}{suffix}", every) for word in ("measured", "predicted"))
    return figure([diagonal(every), *traces], x, y, hovermode="closest")


def _smoothed_figure(history: History, rows: Rows, result: Result, title: str) -> Figure:
    window = smoothing_window(len(history.step))
    traces = [
        _curve(history.step, running_mean([row[column] for row in rows], window), index, result)
        for column, index in _columns(history.devices, result)
    ]
    return figure(traces, axis("search step"), axis(title))


def _columns(names: Sequence[str], result: Result) -> list[tuple[int, int]]:
    """(column, place in `result.json`) of each logged device that the result has."""
    places = {device.name: index for index, device in enumerate(result.devices)}
    return [(column, places[name]) for column, name in enumerate(names) if name in places]


def _curve(
    steps: Sequence[int], values: Sequence[float | None], index: int, result: Result, mode: str = "lines"
) -> Figure:
    device = result.devices[index]
    return scatter(
        steps, values, device.name, mode, "%{fullData.name}: %{y:.3f}", meta=index,
        line={"color": colour(index), "width": 2, "dash": "dash" if device.unseen else "solid"},
        marker={"symbol": _symbol(index, result), "size": 5, "color": colour(index)},
    )  # fmt: skip


def _random_level(steps: Sequence[int], index: int, result: Result) -> Figure:
    device = result.devices[index]
    behind = steps[-1] + 0.02 * (steps[-1] - steps[0] or 1)
    return scatter(
        [behind], [device.hypervolume_random], device.name, meta=index, cliponaxis=False,
        hover="%{fullData.name}, random search: %{y:.3f}",
        legendgroup="random search, drawn behind the last step",
        marker={"symbol": "diamond-open", "size": 8, "color": colour(index)},
    )  # fmt: skip


def _symbol(index: int, result: Result) -> str:
    return device_symbol(index) + "-open" * result.devices[index].unseen
