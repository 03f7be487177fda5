"""The interactive figures of a reproduction, as Plotly's plain JSON.

A trace of a figure that compares methods carries its method's index as `meta`, so that the page can switch
methods on and off.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from modnas_fast.report.marks import MEASURED_COLOUR, SPLIT_COLOURS, colour, method_symbol, number, rounded
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
from modnas_fast.report.traces import FAINT, Figure, axis, figure, scatter, value_axis

_BAR_AXIS = {"autorange": "reversed", "tickfont": {"size": 11}, "ticks": ""}
SMALL_MARGIN = {"l": 46, "r": 8, "t": 8, "b": 42}


def reproduction_figures(report: Reproduction) -> dict[str, Figure]:
    """Every figure of the page by its name; `front-3` is that of the fourth device."""
    figures: dict[str, Figure] = {}
    if report.devices and report.methods:
        figures |= {"radar": radar_figure(report), "dots": dots_figure(report)}
    figures |= curve_figures(report)
    for index, device in enumerate(report.devices):
        figures[f"front-{index}"] = front_figure(report, device)
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
        hover = "%{fullData.name}<br>%{theta}: %{r:.4f}"
        trace = scatter([], [], method.label, "lines+markers", hover, meta=index, connectgaps=False, **_look(index))
        around = {"r": [*values, *values[:1]], "theta": [*names, *names[:1]]}
        traces.append(
            {key: value for key, value in trace.items() if key not in "xy"} | around | {"type": "scatterpolar"}
        )
    look = {"gridcolor": "#dfe3e8", "linecolor": FAINT, "tickfont": {"size": 10}}
    radial = look | {"range": [radar_floor(report), 1], "angle": 90, "tickangle": 90, "nticks": 5}
    angular = look | {"direction": "clockwise", "rotation": 90, "categoryarray": names}
    layout = {"polar": {"radialaxis": radial, "angularaxis": angular, "bgcolor": "#fff"}}
    return {"data": traces, "layout": layout | {"margin": {"l": 76, "r": 76, "t": 34, "b": 34}}}


def dots_figure(report: Reproduction) -> Figure:
    """The same in rows: one per device, in each a dot per method at its mean ratio."""
    places = list(range(len(report.devices)))
    # The first method comes last, so that it lies on top.
    traces = [
        scatter(
            rounded(radar_values(method, report.devices)), places, method.label, "markers",
            "%{fullData.name}<br>%{y}: %{x:.4f}", meta=index, marker=_look(index)["marker"] | {"size": 8},
        )
        for index, method in reversed(list(enumerate(report.methods)))
    ]  # fmt: skip
    names = [escape(d.name, quote=False) + " (unseen)" * (d.split == "unseen") for d in report.devices]
    rows = {"tickvals": places, "ticktext": names, "autorange": "reversed"}
    return figure(traces, axis("hypervolume ratio"), rows, hovermode="closest", margin={"l": 150, "t": 12, "r": 12})


def curve_figures(report: Reproduction) -> dict[str, Figure]:
    """Mean ratio per split, over seconds and over true evaluations: one line per method, one range of ratios."""
    figures = {f"curve-{each}-{split}": curve_figure(report.methods, each, split) for each, split in curves(report)}
    ratios = [y for each in figures.values() for trace in each["data"] for y in trace["y"]]
    margin = 0.05 * (max(ratios) - min(ratios)) or 0.01 if ratios else 0.0
    for each in figures.values():
        each["layout"]["yaxis"]["range"] = [min(ratios) - margin, max(ratios) + margin]
    return figures


def front_figure(report: Reproduction, device: ReproducedDevice) -> Figure:
    """The fronts of every method's first run over the exact front of one device."""
    x, y = report.cost, report.quality
    units = [f" {each.unit}" if each.unit and has_units(device) else "" for each in (x, y)]
    hover = f"%{{fullData.name}}<br>{x.name} %{{x:.4g}}{units[0]}, {y.name} %{{y:.4g}}{units[1]}"
    exact = sorted(in_units(device, device.exact_front))
    line = {"shape": "hv", "color": MEASURED_COLOUR, "width": 1.2}
    traces = [scatter(*_columns(exact), report.exact, "lines", hover, line=line)]
    shown = list(exact)
    if report.published and device.name in report.published.points:
        theirs = in_units(device, report.published.points[device.name])
        shown += theirs
        look = {"color": MEASURED_COLOUR, "symbol": "star", "size": 7}
        traces.append(scatter(*_columns(theirs), "published networks", "markers", hover, marker=look))
    # The first method comes last, so that it lies on top.
    for index, method in reversed(list(enumerate(report.methods))):
        found = first_front(method, device)
        shown += found
        marker = _look(index)["marker"]
        traces.append(scatter(*_columns(found), method.label, "markers", hover, meta=index, marker=marker))
    axes = [value_axis(title, [point[at] for point in shown]) for at, title in enumerate(axis_titles(report, device))]
    for each in axes:
        each["title"] |= {"font": {"size": 11}, "standoff": 6}
        each["tickfont"] = {"size": 10}
        each.setdefault("nticks", 5)
    return figure(traces, *axes, margin=SMALL_MARGIN)


def ablation_figure(bars: Sequence[Bar]) -> Figure:
    """What each value of each factor misses of the exact hypervolume, in percent."""
    traces = []
    for split in SPLIT_NAMES:
        means = [bar.missing[split] for bar in bars]
        spread = [point and round(point[1], 4) for point in means]
        traces.append(
            {
                "type": "bar", "orientation": "h", "name": f"{split} devices", "y": _bar_names(bars),
                "x": [point and round(point[0], 4) for point in means],
                "error_x": {"type": "data", "array": spread, "color": "#566070", "thickness": 1, "width": 3},
                "marker": {"color": SPLIT_COLOURS[split]},
                "hovertemplate": "%{y}<br>%{fullData.name}: %{x:.2f} % missing<extra></extra>",
            }
        )  # fmt: skip
    x = axis("missing hypervolume (%)", rangemode="tozero")
    return figure(traces, x, _BAR_AXIS, barmode="group", bargap=0.25)


def cosine_figure(bars: Sequence[Bar]) -> Figure:
    """The mean cosine between the gradients of devices, for each value of each factor."""
    marker = {"symbol": "diamond", "size": 9, "color": colour(1)}
    cosines = rounded(bar.gradient_cosine for bar in bars)
    trace = scatter(cosines, _bar_names(bars), hover="%{y}<br>mean cosine %{x:.3f}", marker=marker)
    x = axis("mean cosine", zeroline=True, zerolinecolor=FAINT, rangemode="tozero")
    return figure([trace], x, _BAR_AXIS)


def space_figure(three: ThreeObjectives, name: str) -> Figure:
    """The first run's front on one device over the exact one, with three objectives."""
    found = three.runs[0].devices.get(name) if three.runs else None
    traces = [
        _space_trace("exact front", three.exact_front.get(name, []), FAINT, "circle", 2.5),
        _space_trace("MODNAS", found.front if found else [], colour(0), "diamond", 3.5),
    ]
    axes = {
        f"{key}axis": axis(objective, range=[0, 1], gridcolor="#dfe3e8", nticks=5)
        for key, objective in zip("xyz", three.objectives, strict=True)
    }
    camera = {"eye": {"x": 1.85, "y": 1.85, "z": 1.0}}
    layout = {"scene": axes | {"camera": camera, "aspectmode": "cube"}}
    return {"data": traces, "layout": layout | {"margin": {"l": 0, "r": 0, "t": 0, "b": 0}}}


def supernet_figure(supernet: SupernetQuality) -> Figure:
    """Inherited over true errors."""
    inherited, true = zip(*supernet.points, strict=True)
    marker = {"color": colour(0), "size": 7, "opacity": 0.75, "line": {"width": 1, "color": "#ffffff"}}
    hover = "true %{x:.2f} %, inherited %{y:.2f} %"
    trace = scatter(rounded(true), rounded(inherited), "networks", hover=hover, marker=marker)
    return figure([trace], value_axis("true error (%)", true), value_axis("inherited error (%)", inherited))


def curve_figure(methods: Sequence[Method], which: Axis, split: Split) -> Figure:
    """A line of means per method, and a band from the lowest to the highest seed."""
    traces, places = [], []
    for index, method in reversed(list(enumerate(methods))):
        if not (steps := mean_curve(method.runs, which, split)):
            continue
        x, means, lows, highs, _ = (rounded(column) for column in zip(*steps, strict=True))
        texts = [f"mean {number(s.mean, 4)}, seeds {number(s.low, 4)} to {number(s.high, 4)}" for s in steps]
        look = _look(index)
        around: Figure = {"meta": index, "fill": "toself", "fillcolor": f"{colour(index)}1f"}
        band = scatter([*x, *x[::-1]], [*lows, *highs[::-1]], mode="none", **around, **look)
        hover = "%{fullData.name} at %{x:.4g}<br>%{text}"
        look["marker"]["maxdisplayed"] = 9
        traces += [band, scatter(x, means, method.label, "lines+markers", hover, meta=index, text=texts, **look)]
        places += x
    return figure(traces, value_axis(AXIS_TITLES[which], places), axis("hypervolume ratio"))


def _space_trace(name: str, points: Sequence[tuple[float, ...]], tint: str, symbol: str, size: float) -> Figure:
    columns = zip(*points, strict=True) if points else ((), (), ())
    coordinates = dict(zip("xyz", map(rounded, columns), strict=True))
    return {
        "type": "scatter3d", "mode": "markers", "name": name, **coordinates,
        "marker": {"color": tint, "size": size, "symbol": symbol},
        "hovertemplate": "%{fullData.name}<br>(%{x:.3f}, %{y:.3f}, %{z:.3f})<extra></extra>",
    }  # fmt: skip


def _look(index: int) -> Figure:
    """Line and marker of the method at this place; the first stands out."""
    line = {"color": colour(index), "width": 2.5 if index == 0 else 1.5}
    return {"line": line, "marker": {"color": colour(index), "symbol": method_symbol(index), "size": 6}}


def _bar_names(bars: Sequence[Bar]) -> list[str]:
    return [f"{escape(bar.factor)}:<br>{escape(bar.value)}{' ★' * bar.default}" for bar in bars]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float | None], list[float | None]]:
    return rounded([x for x, _ in points]), rounded([y for _, y in points])
