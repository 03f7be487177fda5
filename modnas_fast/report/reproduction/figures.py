"""The interactive figures of a reproduction, as Plotly's plain JSON.

A trace of a figure that compares methods carries its method's index as `meta`, so that the page can switch
methods on and off. Names reach Plotly escaped, because it reads its texts as a subset of HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from modnas_fast.report.marks import (
    MEASURED_COLOUR,
    SPLIT_COLOURS,
    method_colour,
    method_symbol,
    number,
    rounded,
)
from modnas_fast.report.reproduction.contents import (
    Method,
    ReproducedDevice,
    Reproduction,
    Split,
    SupernetQuality,
    ThreeObjectives,
)
from modnas_fast.report.reproduction.numbers import (
    AXIS_TITLES,
    SPLIT_NAMES,
    Axis,
    Bar,
    Step,
    ablation_bars,
    axis_titles,
    curves,
    first_front,
    has_units,
    in_units,
    mean_curve,
    radar_floor,
    radar_values,
)
from modnas_fast.report.run.figures import Figure, value_axis

_BAR_AXIS = {"autorange": "reversed", "tickfont": {"size": 11}, "ticks": ""}
SMALL_MARGIN = {"l": 46, "r": 8, "t": 8, "b": 42}


def reproduction_figures(report: Reproduction) -> dict[str, Figure]:
    """Every figure of the page by its name; `front-3` is that of the fourth device."""
    figures = {}
    if report.devices and report.methods:
        figures["radar"] = radar_figure(report)
    figures |= curve_figures(report)
    for index, device in enumerate(report.devices):
        figures[f"front-{index}"] = front_figure(report.methods, device)
    if bars := ablation_bars(report.ablations):
        figures["ablations"] = ablation_figure(bars)
        if any(bar.gradient_cosine is not None for bar in bars):
            figures["cosines"] = cosine_figure(bars)
    if three := report.three_objectives:
        figures |= {f"space-{i}": space_figure(three, name) for i, name in enumerate(three.devices)}
    if report.supernet and report.supernet.points:
        figures["supernet"] = supernet_figure(report.supernet)
    return figures


def radar_figure(report: Reproduction) -> Figure:
    """Mean ratio of every method on every device, around a circle."""
    names = [escape(device.name, quote=False) for device in report.devices]
    traces = []
    for index, method in enumerate(report.methods):
        values = rounded(radar_values(method, report.devices))
        traces.append(
            {
                "type": "scatterpolar", "mode": "lines+markers", "name": _label(method), "meta": index,
                "r": [*values, *values[:1]], "theta": [*names, *names[:1]],
                "line": {"color": method_colour(index), "width": 2.5 if index == 0 else 1.5},
                "marker": _marker(index), "connectgaps": False,
                "hovertemplate": "%{fullData.name}<br>%{theta}: %{r:.4f}<extra></extra>",
            }
        )  # fmt: skip
    axis = {"gridcolor": "#dfe3e8", "linecolor": "#94a3b8", "tickfont": {"size": 10}}
    radial = axis | {"range": [radar_floor(report), 1], "angle": 90, "tickangle": 90, "nticks": 5}
    angular = axis | {"direction": "clockwise", "rotation": 90, "categoryarray": names}
    layout = {"polar": {"radialaxis": radial, "angularaxis": angular, "bgcolor": "#fff"}}
    return {"data": traces, "layout": layout | {"margin": {"l": 76, "r": 76, "t": 34, "b": 34}}}


def curve_figures(report: Reproduction) -> dict[str, Figure]:
    """Mean ratio per split, over seconds and over true evaluations: one line per method, one range of ratios."""
    figures = {f"curve-{axis}-{split}": _curve_figure(report.methods, axis, split) for axis, split in curves(report)}
    ratios = [y for figure in figures.values() for trace in figure["data"] for y in trace["y"]]
    margin = 0.05 * (max(ratios) - min(ratios)) or 0.01 if ratios else 0.0
    for figure in figures.values():
        figure["layout"]["yaxis"]["range"] = [min(ratios) - margin, max(ratios) + margin]
    return figures


def front_figure(methods: Sequence[Method], device: ReproducedDevice) -> Figure:
    """The fronts of every method's first run over the exact front of one device."""
    units = (" ms", " %") if has_units(device) else ("", "")
    hover = f"%{{fullData.name}}<br>latency %{{x:.4g}}{units[0]}, error %{{y:.4g}}{units[1]}<extra></extra>"
    exact = sorted(in_units(device, device.exact_front))
    xs, ys = _columns(exact)
    traces: list[Figure] = [
        {
            "type": "scatter", "mode": "lines", "name": "exact front", "x": xs, "y": ys, "hovertemplate": hover,
            "line": {"shape": "hv", "color": MEASURED_COLOUR, "width": 1.2},
        }
    ]  # fmt: skip
    shown = list(exact)
    # The first method comes last, so that it lies on top.
    for index, method in reversed(list(enumerate(methods))):
        found = first_front(method, device)
        shown += found
        xs, ys = _columns(found)
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": _label(method), "meta": index, "x": xs, "y": ys,
                "marker": _marker(index), "hovertemplate": hover,
            }
        )  # fmt: skip
    titles = axis_titles(device)
    axes = {
        key: value_axis(title, [point[place] for point in shown])
        for place, (key, title) in enumerate(zip(("xaxis", "yaxis"), titles, strict=True))
    }
    for axis in axes.values():
        axis["title"] |= {"font": {"size": 11}, "standoff": 6}
        axis["tickfont"] = {"size": 10}
        axis.setdefault("nticks", 5)
    return {"data": traces, "layout": axes | {"margin": SMALL_MARGIN}}


def ablation_figure(bars: Sequence[Bar]) -> Figure:
    """What each value of each factor misses of the exact hypervolume, in percent."""
    traces = []
    for split in SPLIT_NAMES:
        means = [bar.missing[split] for bar in bars]
        traces.append(
            {
                "type": "bar", "orientation": "h", "name": f"{split} devices", "y": _bar_names(bars),
                "x": [point and round(point[0], 4) for point in means],
                "error_x": {"type": "data", "array": [point and round(point[1], 4) for point in means],
                            "color": "#566070", "thickness": 1, "width": 3},
                "marker": {"color": SPLIT_COLOURS[split]},
                "hovertemplate": "%{y}<br>%{fullData.name}: %{x:.2f} % missing<extra></extra>",
            }
        )  # fmt: skip
    x = {"title": {"text": "missing hypervolume (%)"}, "rangemode": "tozero"}
    return {"data": traces, "layout": {"xaxis": x, "yaxis": _BAR_AXIS, "barmode": "group", "bargap": 0.25}}


def cosine_figure(bars: Sequence[Bar]) -> Figure:
    """The mean cosine between the gradients of devices, for each value of each factor."""
    trace = {
        "type": "scatter", "mode": "markers", "x": rounded(bar.gradient_cosine for bar in bars),
        "y": _bar_names(bars), "marker": {"symbol": "diamond", "size": 9, "color": method_colour(1)},
        "hovertemplate": "%{y}<br>mean cosine %{x:.3f}<extra></extra>",
    }  # fmt: skip
    x = {"title": {"text": "mean cosine"}, "zeroline": True, "zerolinecolor": "#94a3b8", "rangemode": "tozero"}
    return {"data": [trace], "layout": {"xaxis": x, "yaxis": _BAR_AXIS}}


def space_figure(three: ThreeObjectives, name: str) -> Figure:
    """The first run's front on one device over the exact one, with three objectives."""
    found = three.runs[0].devices.get(name) if three.runs else None
    traces = [
        _space_trace("exact front", three.exact_front.get(name, []), "#94a3b8", "circle", 2.5),
        _space_trace("MODNAS", found.front if found else [], method_colour(0), "diamond", 3.5),
    ]
    axes = {
        f"{key}axis": {"title": {"text": escape(objective)}, "range": [0, 1], "gridcolor": "#dfe3e8", "nticks": 5}
        for key, objective in zip("xyz", three.objectives, strict=True)
    }
    camera = {"eye": {"x": 1.85, "y": 1.85, "z": 1.0}}
    layout = {"scene": axes | {"camera": camera, "aspectmode": "cube"}}
    return {"data": traces, "layout": layout | {"margin": {"l": 0, "r": 0, "t": 0, "b": 0}}}


def supernet_figure(supernet: SupernetQuality) -> Figure:
    """Inherited over true errors."""
    inherited, true = zip(*supernet.points, strict=True)
    trace = {
        "type": "scatter", "mode": "markers", "x": rounded(true), "y": rounded(inherited), "name": "networks",
        "marker": {"color": method_colour(0), "size": 7, "opacity": 0.75, "line": {"width": 1, "color": "#ffffff"}},
        "hovertemplate": "true %{x:.2f} %, inherited %{y:.2f} %<extra></extra>",
    }  # fmt: skip
    axes = {"xaxis": value_axis("true error (%)", true), "yaxis": value_axis("inherited error (%)", inherited)}
    return {"data": [trace], "layout": axes}


def _curve_figure(methods: Sequence[Method], axis: Axis, split: Split) -> Figure:
    lines = [(index, method, mean_curve(method.runs, axis, split)) for index, method in enumerate(methods)]
    places = [step.x for *_, steps in lines for step in steps]
    layout = {
        "xaxis": value_axis(AXIS_TITLES[axis], places),
        "yaxis": {"title": {"text": "hypervolume ratio"}},
    }
    return {"data": [_curve_trace(*line) for line in lines if line[2]], "layout": layout}


def _curve_trace(index: int, method: Method, steps: Sequence[Step]) -> Figure:
    text = [f"mean {number(step.mean, 4)}, seeds {number(step.low, 4)} to {number(step.high, 4)}" for step in steps]
    return {
        "type": "scatter", "mode": "lines+markers", "name": _label(method), "meta": index, "text": text,
        "x": rounded([step.x for step in steps]), "y": rounded([step.mean for step in steps]),
        "line": {"color": method_colour(index), "width": 2.5 if index == 0 else 1.5},
        "marker": _marker(index) | {"maxdisplayed": 9},
        "hovertemplate": "%{fullData.name} at %{x:.4g}<br>%{text}<extra></extra>",
    }  # fmt: skip


def _space_trace(name: str, points: Sequence[tuple[float, ...]], colour: str, symbol: str, size: float) -> Figure:
    columns = zip(*points, strict=True) if points else ((), (), ())
    coordinates = dict(zip("xyz", map(rounded, columns), strict=True))
    return {
        "type": "scatter3d", "mode": "markers", "name": name, **coordinates,
        "marker": {"color": colour, "size": size, "symbol": symbol},
        "hovertemplate": "%{fullData.name}<br>(%{x:.3f}, %{y:.3f}, %{z:.3f})<extra></extra>",
    }  # fmt: skip


def _marker(index: int) -> Figure:
    return {"color": method_colour(index), "symbol": method_symbol(index)[0], "size": 6}


def _bar_names(bars: Sequence[Bar]) -> list[str]:
    return [f"{escape(bar.factor)}:<br>{escape(bar.value)}{' ★' * bar.default}" for bar in bars]


def _label(method: Method) -> str:
    return escape(method.label, quote=False)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float | None], list[float | None]]:
    return rounded([x for x, _ in points]), rounded([y for _, y in points])
