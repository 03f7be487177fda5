"""The page's interactive figures, as Plotly's plain JSON: `{"data": [traces], "layout": {...}}`.

A trace of a figure that shows several devices carries its device's index as `meta`, so that the page can
switch devices on and off. Names reach Plotly escaped, because it reads its texts as a subset of HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from modnas_fast.report.marks import (
    MEASURED_COLOUR,
    PREFERENCE_SCALE,
    RANDOM_COLOUR,
    device_colour,
    device_symbol,
    log_ticks,
    number,
    running_mean,
    significant,
    smoothing_window,
    wants_log,
)
from modnas_fast.report.run.contents import (
    DevicePredictor,
    DeviceResult,
    FrontPoint,
    History,
    Point,
    Predictor,
    Ray,
    Result,
)

Figure = dict[str, Any]
_POINT_HOVER = "%{text}<extra></extra>"


def all_figures(result: Result, history: History | None, predictor: Predictor | None) -> dict[str, Figure]:
    """Every figure of the page by its name; `front-3` is that of the fourth device."""
    figures = {f"front-{i}": front_figure(device, i, result.source) for i, device in enumerate(result.devices)}
    if history is not None:
        figures |= history_figures(history, result)
    if predictor is not None:
        figures |= predictor_figures(predictor, result)
    return figures


def front_figure(device: DeviceResult, index: int, source: str) -> Figure:
    """Front, rays, random search and measurements of one device over latency and error; `source` of its points."""
    traces = [
        _random_trace(device.random, source),
        _front_trace(device.front, index, source),
        _rays_trace(device.rays, source),
    ]
    if device.measured:
        traces += [_connections(device.measured), _measured_trace(device.measured)]
    points: list[Point] = [*device.rays, *device.front, *device.random]
    measured = device.measured
    latencies = [p.latency_ms for p in points] + [p.measured_latency_ms for p in measured]
    errors = [p.error for p in points] + [p.test_error for p in measured]
    layout = {"xaxis": value_axis("latency (ms)", latencies), "yaxis": value_axis("error (%)", errors)}
    return {"data": traces, "layout": layout | {"hovermode": "closest"}}


def history_figures(history: History, result: Result) -> dict[str, Figure]:
    """The figures over search steps, each only where something was logged for it."""
    figures = {}
    if history.hypervolume.step:
        figures["hypervolume"] = hypervolume_figure(history, result)
    if history.step and history.mgd_weights:
        figures["mgd-weights"] = weights_figure(history, result)
    if history.step and history.task_loss:
        figures["task-loss"] = _smoothed_figure(history, history.task_loss, result, "task loss")
    if history.step and history.latency:
        figures["latency"] = _smoothed_figure(history, history.latency, result, "latency (normalised)")
    if history.step and any(value is not None for value in history.gradient_cosine):
        figures["gradient-cosine"] = cosine_figure(history)
    return figures


def hypervolume_figure(history: History, result: Result) -> Figure:
    """Hypervolume over search steps, with random search's as an open diamond behind the last step."""
    log = history.hypervolume
    traces, places = [], device_places(result)
    for column, name in enumerate(log.devices):
        if name not in places:
            continue
        values = [row[column] for row in log.values]
        traces.append(_curve(log.step, values, places[name], result, "lines+markers"))
        traces.append(_random_level(log.step, places[name], result))
    layout = {"xaxis": _step_axis(), "yaxis": {"title": {"text": "hypervolume (of 1)"}}}
    return {"data": traces, "layout": layout}


def weights_figure(history: History, result: Result) -> Figure:
    """The weights of multiple gradient descent over search steps, stacked: they sum to one."""
    window, places = smoothing_window(len(history.step)), device_places(result)
    traces = []
    for column, name in enumerate(history.devices):
        if name not in places:
            continue
        values = running_mean([row[column] for row in history.mgd_weights], window)
        traces.append(
            {
                "type": "scatter", "x": history.step, "y": values, "name": escape(name, quote=False),
                "mode": "lines", "stackgroup": "weights", "meta": places[name],
                "line": {"width": 0.8, "color": "#ffffff"}, "fillcolor": device_colour(places[name]),
                "hovertemplate": "%{fullData.name}: %{y:.3f}<extra></extra>",
            }
        )  # fmt: skip
    axis = {"title": {"text": "weight (share)"}, "range": [0, 1]}
    return {"data": traces, "layout": {"xaxis": _step_axis(), "yaxis": axis}}


def cosine_figure(history: History) -> Figure:
    """The mean cosine between the devices' gradients over search steps, each step and smoothed."""
    smooth = running_mean(history.gradient_cosine, smoothing_window(len(history.step)))
    hover = "step %{x}: %{y:.3f}<extra></extra>"
    shared = {"type": "scatter", "mode": "lines", "x": history.step, "hovertemplate": hover}
    raw = shared | {
        "y": history.gradient_cosine,
        "line": {"color": RANDOM_COLOUR, "width": 1},
        "opacity": 0.5,
    }
    line = shared | {"y": smooth, "line": {"color": device_colour(0), "width": 2}}
    axis = {"title": {"text": "mean cosine"}, "zeroline": True, "zerolinecolor": "#94a3b8"}
    traces = [line] if smooth == history.gradient_cosine else [raw, line]
    return {"data": traces, "layout": {"xaxis": _step_axis(), "yaxis": axis, "hovermode": "closest"}}


def predictor_figures(predictor: Predictor, result: Result) -> dict[str, Figure]:
    """Predicted over measured latency: all devices at once, and `predictor-3` for the fourth alone."""
    known = [
        (index, device.name, predictor.devices[device.name])
        for index, device in enumerate(result.devices)
        if device.name in predictor.devices and predictor.devices[device.name].measured_ms
    ]
    if not known:
        return {}
    figures = {f"predictor-{index}": _scatter_figure([(index, name, part)]) for index, name, part in known}
    return figures | {"predictor": _scatter_figure(known)}


def device_places(result: Result) -> dict[str, int]:
    """Each device's place in `result.json`, from which its colour follows."""
    return {device.name: index for index, device in enumerate(result.devices)}


def _random_trace(points: Sequence[Point], source: str) -> Figure:
    marker = {
        "color": RANDOM_COLOUR,
        "size": 7,
        "symbol": "x-thin",
        "line": {"color": RANDOM_COLOUR, "width": 1.6},
    }
    return _points(points, "random search", marker, source)


def _front_trace(front: Sequence[FrontPoint], index: int, source: str) -> Figure:
    return {
        "type": "scatter", "mode": "lines", "name": f"front ({source})", "hoverinfo": "skip",
        "x": [p.latency_ms for p in front], "y": [p.error for p in front],
        "line": {"shape": "hv", "color": device_colour(index), "width": 2},
    }  # fmt: skip


def _rays_trace(rays: Sequence[Ray], source: str) -> Figure:
    marker = {
        "color": [ray.preference[0] for ray in rays], "cmin": 0, "cmax": 1,
        "colorscale": PREFERENCE_SCALE.title(),
        "size": [11 if ray.nondominated else 8 for ray in rays], "opacity": 1,
        "line": {"color": "#ffffff", "width": 1},
    }  # fmt: skip
    return _points(rays, "rays", marker, source)


def _measured_trace(measured: Sequence[FrontPoint]) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": "measured", "hovertemplate": _POINT_HOVER,
        "x": [p.measured_latency_ms for p in measured], "y": [p.test_error for p in measured],
        "text": [_measured_text(p) for p in measured],
        "marker": {"symbol": "diamond-open", "size": 11, "color": MEASURED_COLOUR, "line": {"width": 2}},
    }  # fmt: skip


def _connections(measured: Sequence[FrontPoint]) -> Figure:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for point in measured:
        xs += [point.latency_ms, point.measured_latency_ms, None]
        ys += [point.error, point.test_error, None]
    line = {"color": MEASURED_COLOUR, "width": 1, "dash": "dot"}
    return {"type": "scatter", "mode": "lines", "x": xs, "y": ys, "line": line, "hoverinfo": "skip"}


def _points(points: Sequence[Point], name: str, marker: Figure, source: str) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name, "marker": marker, "hovertemplate": _POINT_HOVER,
        "x": [p.latency_ms for p in points], "y": [p.error for p in points],
        "text": [_point_text(p, source) for p in points],
    }  # fmt: skip


def _point_text(point: Point, source: str) -> str:
    title = "random search"
    if isinstance(point, Ray):
        title = f"preference ({', '.join(number(weight, 2) for weight in point.preference)})"
    costs = f"error {number(point.error, 2)} %, latency {significant(point.latency_ms)} ms ({source})"
    return f"<b>{title}</b><br>{costs}<br>{_folded(point.architecture)}"


def _measured_text(point: FrontPoint) -> str:
    costs = f"error {number(point.test_error, 2)} %, latency {significant(point.measured_latency_ms)} ms"
    return f"<b>trained and measured</b><br>{costs}<br>{_folded(point.architecture)}"


def _folded(architecture: str) -> str:
    text = architecture if len(architecture) <= 200 else architecture[:199] + "…"
    return escape(text, quote=False).replace("+", "+<br>")


def _smoothed_figure(history: History, rows: Sequence[Sequence[float | None]], result: Result, title: str) -> Figure:
    window, places = smoothing_window(len(history.step)), device_places(result)
    traces = [
        _curve(history.step, running_mean([row[column] for row in rows], window), places[name], result)
        for column, name in enumerate(history.devices)
        if name in places
    ]
    return {"data": traces, "layout": {"xaxis": _step_axis(), "yaxis": {"title": {"text": title}}}}


def _curve(
    steps: Sequence[int], values: Sequence[float | None], index: int, result: Result, mode: str = "lines"
) -> Figure:
    device = result.devices[index]
    unseen = device.split == "unseen"
    colour, symbol = device_colour(index), device_symbol(index)[0]
    return {
        "type": "scatter", "mode": mode, "x": steps, "y": values, "meta": index,
        "name": escape(device.name, quote=False),
        "line": {"color": colour, "width": 2, "dash": "dash" if unseen else "solid"},
        "marker": {"symbol": symbol + "-open" * unseen, "size": 5, "color": colour},
        "hovertemplate": "%{fullData.name}: %{y:.3f}<extra></extra>",
    }  # fmt: skip


def _random_level(steps: Sequence[int], index: int, result: Result) -> Figure:
    device = result.devices[index]
    return {
        "type": "scatter", "mode": "markers", "meta": index, "cliponaxis": False,
        "x": [steps[-1] + 0.02 * (steps[-1] - steps[0] or 1)], "y": [device.hypervolume_random],
        "name": escape(device.name, quote=False),
        "marker": {"symbol": "diamond-open", "size": 8, "color": device_colour(index)},
        "hovertemplate": "%{fullData.name}, random search: %{y:.3f}<extra></extra>",
    }  # fmt: skip


def _scatter_figure(parts: Sequence[tuple[int, str, DevicePredictor]]) -> Figure:
    every = [ms for _, _, part in parts for ms in (*part.measured_ms, *part.predicted_ms)]
    low, high = min(every), max(every)
    diagonal = {
        "type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high], "hoverinfo": "skip",
        "line": {"color": "#94a3b8", "width": 1.5, "dash": "dot"},
    }  # fmt: skip
    layout = {"xaxis": value_axis("measured (ms)", every), "yaxis": value_axis("predicted (ms)", every)}
    traces = [_scatter_trace(index, name, part) for index, name, part in parts]
    return {"data": [diagonal, *traces], "layout": layout | {"hovermode": "closest"}}


def _scatter_trace(index: int, name: str, part: DevicePredictor) -> Figure:
    symbol = device_symbol(index)[0] + "-open" * (part.split == "unseen")
    return {
        "type": "scatter", "mode": "markers", "meta": index, "name": escape(name, quote=False),
        "x": part.measured_ms, "y": part.predicted_ms,
        "marker": {
            "color": device_colour(index), "symbol": symbol, "size": 7,
            "line": {"width": 1, "color": "#ffffff"},
        },
        "hovertemplate": "%{fullData.name}<br>measured %{x:.3g} ms, predicted %{y:.3g} ms<extra></extra>",
    }  # fmt: skip


def value_axis(title: str, values: Sequence[float | None]) -> Figure:
    """An axis with a title, logarithmic where its values are widely spread."""
    numbers = [value for value in values if value is not None]
    axis: Figure = {"title": {"text": title}}
    if wants_log(numbers):
        ticks = log_ticks(min(numbers), max(numbers))
        axis |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    return axis


def _step_axis() -> Figure:
    return {"title": {"text": "search step"}}
