"""The figures of one device: fronts of every two objectives, parallel coordinates of all, rays on the triangle.

Points of networks that rays chose, or that are on the front, carry the network's number as `customdata`, by which the
page links its figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import combinations
from typing import Any, TypeVar

from modnas_fast.report.marks import (
    FURTHER_COLOUR,
    MEASURED_COLOUR,
    RANDOM_COLOUR,
    SOURCES,
    colour,
    number,
    preference_colour,
    wants_log,
)
from modnas_fast.report.quantities import Quantity
from modnas_fast.report.run.contents import DeviceResult, FrontPoint, Point, Ray, RegionOf, Result
from modnas_fast.report.traces import FAINT, Figure, axis, figure, scatter, value_axis

_P = TypeVar("_P", bound=Point)
TRIANGLE = 3
"""As many objectives have preferences that fill a triangle."""


def device_figures(result: Result, index: int) -> dict[str, Figure]:
    """The figures of the device at this place by name; `front-3` is the fourth device's quality over its first cost."""
    device = result.devices[index]
    figures = {
        front_name(index, place): front_figure(result, index, *pair) for place, pair in enumerate(pairs_of(result))
    }
    if len(result.objectives) > 2:
        figures[f"parallel-{index}"] = parallel_figure(result, device)
    if len(result.objectives) == TRIANGLE:
        figures[f"triangle-{index}"] = triangle_figure(result, device)
    return figures


def pairs_of(result: Result) -> list[tuple[Quantity, Quantity]]:
    """Every two objectives, as (vertical, horizontal); those with the quality first."""
    return list(combinations(result.objectives, 2))


def front_name(index: int, pair: int) -> str:
    """The name of the figure of a device's pair of objectives."""
    return f"front-{index}-{pair}" if pair else f"front-{index}"


def networks_of(device: DeviceResult) -> dict[str, int]:
    """The number of every network that rays chose or that is on the front, by architecture."""
    every = dict.fromkeys(point.architecture for point in (*device.rays, *device.front))
    return {architecture: place for place, architecture in enumerate(every)}


def front_figure(result: Result, index: int, y: Quantity, x: Quantity) -> Figure:
    """Front, rays, random search and verified networks of one device over two objectives."""
    device, networks = result.devices[index], networks_of(result.devices[index])
    verified = [point for point in device.front if _is_verified(result, point, x, y)]
    steps = _lower_left(device.front, x, y)
    line = {"shape": "hv", "color": colour(index), "width": 2}
    source = f"front ({sources_of(steps, [each for each in (x, y) if each != result.quality])})"
    traces = [
        *_random_traces(result, device.random, x, y),
        scatter([p[x] for p in steps], [p[y] for p in steps], source, "lines", line=line),
        *_further_traces(result, device.further, networks, x, y),
        *_ray_traces(result, device.rays, networks, x, y),
    ]
    if verified:
        traces += _verified_traces(result, verified, networks, x, y)
    known = [(result.known(p, x), result.known(p, y)) for p in verified]
    xs = [*(p[x] for p in device.points), *(place for place, _ in known)]
    ys = [*(p[y] for p in device.points), *(place for _, place in known)]
    layout: Figure = {"dragmode": "select"} if len(result.objectives) > 2 else {}
    if bands := [band for region in device.regions for band in _bands(region, y, x)]:
        layout |= {"shapes": bands}
    return figure(traces, value_axis(x.titled(), xs), value_axis(y.titled(), ys), hovermode="closest", **layout)


def _bands(region: RegionOf, y: Quantity, x: Quantity) -> list[Figure]:
    """Behind the points, from edge to edge, the interval of a region in either objective; an open end has no band."""
    bands = []
    for objective, along, across in ((x, "x", "y"), (y, "y", "x")):
        low, high = region.within.get(objective.key, (None, None))
        if low is not None and high is not None:
            ends = {f"{along}0": low, f"{along}1": high, f"{across}0": 0, f"{across}1": 1, f"{across}ref": "paper"}
            bands.append(
                {"type": "rect", **ends, "fillcolor": FAINT, "opacity": 0.25, "layer": "below", "line_width": 0}
            )
    return bands


def parallel_figure(result: Result, device: DeviceResult) -> Figure:
    """A line per network, through its value of each objective; the least values are at the bottom."""
    networks = networks_of(device)
    rays = {ray.architecture: ray for ray in sorted(device.rays, key=lambda ray: ray.nondominated)}
    shown: list[Ray | FrontPoint] = [*device.further, *rays.values()]
    scales = [_scale([point[objective] for point in shown]) for objective in result.objectives]
    traces = [_network_line(result, point, networks[point.architecture], scales) for point in shown]
    places = list(range(len(scales)))
    titles = [f"<b>{escape(objective.titled(), quote=False)}</b>" for objective in result.objectives]
    x = {"tickvals": places, "ticktext": titles, "range": [-0.3, places[-1] + 0.3], "ticks": ""}
    x |= {"showgrid": False, "showline": False}
    post = {"type": "line", "y0": 0, "y1": 1, "line": {"color": FAINT, "width": 1}, "layer": "below"}
    font = {"size": 11, "color": "#566070"}
    notes = [
        {"x": at, "y": y, "text": objective.text(value), "yanchor": anchor, "showarrow": False, "font": font}
        for at, objective, (low, high, _) in zip(places, result.objectives, scales, strict=True)
        for y, anchor, value in ((-0.03, "top", low), (1.03, "bottom", high))
    ]
    layout: Figure = {"dragmode": "select", "hovermode": "closest", "margin": {"l": 24, "r": 24, "t": 26, "b": 40}}
    layout |= {"shapes": [post | {"x0": at, "x1": at} for at in places], "annotations": notes}
    return figure(traces, x, {"visible": False, "range": [-0.14, 1.14]}, **layout)


def triangle_figure(result: Result, device: DeviceResult) -> Figure:
    """The preferences of the rays, each at its share of three objectives."""
    networks = networks_of(device)
    weights = zip(*(ray.preference for ray in device.rays), strict=True) if device.rays else ((), (), ())
    trace = {
        "type": "scatterternary", "mode": "markers", "name": "rays", "text": [_text(result, r) for r in device.rays],
        **{key: list(values) for key, values in zip("abc", weights, strict=True)},
        "customdata": [networks[ray.architecture] for ray in device.rays], "hovertemplate": "%{text}<extra></extra>",
        "marker": _ray_marker(device.rays), "cliponaxis": False,
    }  # fmt: skip
    look = {"gridcolor": "#e8ebef", "linecolor": FAINT, "tickfont": {"size": 10}, "nticks": 6, "min": 0}
    axes = {f"{key}axis": axis(objective.name, **look) for key, objective in zip("abc", result.objectives, strict=True)}
    margin = {"l": 50, "r": 50, "t": 40, "b": 40}
    return {"data": [trace], "layout": {"ternary": {"sum": 1, **axes}, "dragmode": "select", "margin": margin}}


def sources_of(points: Iterable[Point], costs: Iterable[Quantity]) -> str:
    """Where the values of these costs come from, in words.

    >>> point = Point(architecture="a", sources={"energy_mj": "tabulated"})
    >>> sources_of([point], [Quantity(name=name, key=name) for name in ("latency_ms", "energy_mj")])
    'predicted and tabulated'
    """
    wanted = list(costs)
    found = {point.source(cost) for point in points for cost in wanted}
    return " and ".join(source for source in SOURCES if source in found)


def value_words(result: Result, point: Point) -> str:
    """A network's value of every objective, each with where it comes from."""
    return ", ".join(f"{o.name} {o.measured(o.text(point[o]))} ({result.source(point, o)})" for o in result.objectives)


def _random_traces(result: Result, points: Sequence[Point], x: Quantity, y: Quantity) -> list[Figure]:
    """A trace of crosses for each source of costs."""
    marker = {"size": 7, "color": RANDOM_COLOUR, "line": {"color": RANDOM_COLOUR, "width": 1.6}}
    return [
        _points(result, group, x, y, f"random search ({source})", marker=marker | {"symbol": SOURCES[source].random})
        for source, group in _by_source(result, points, x, y).items()
    ]


def _ray_traces(
    result: Result, rays: Sequence[Ray], networks: dict[str, int], x: Quantity, y: Quantity
) -> list[Figure]:
    """A trace of symbols in the colours of the preferences for each source of costs."""
    traces = []
    for source, group in _by_source(result, rays, x, y).items():
        look: dict[str, Any] = {"marker": _ray_marker(group) | {"symbol": SOURCES[source].symbol}}
        numbers = [networks[ray.architecture] for ray in group]
        traces.append(_points(result, group, x, y, f"rays ({source})", customdata=numbers, **look))
    return traces


def _further_traces(
    result: Result, points: Sequence[FrontPoint], networks: dict[str, int], x: Quantity, y: Quantity
) -> list[Figure]:
    """A trace of symbols in one colour for each source of costs; none where every network has a ray."""
    traces = []
    for source, group in _by_source(result, points, x, y).items() if points else ():
        marker = {"color": FURTHER_COLOUR, "size": 7, "line": {"color": "#ffffff", "width": 1}}
        numbers = [networks[point.architecture] for point in group]
        look: dict[str, Any] = {"marker": marker | {"symbol": SOURCES[source].symbol}, "customdata": numbers}
        traces.append(_points(result, group, x, y, f"evaluated on the way ({source})", **look))
    return traces


def _by_source(result: Result, points: Sequence[_P], x: Quantity, y: Quantity) -> dict[str, list[_P]]:
    """The points by the least certain source of their costs; without any points, none that are predicted."""
    costs = [objective for objective in (x, y) if objective != result.quality]
    groups: dict[str, list[_P]] = {}
    for point in points:
        found = {point.source(cost) for cost in costs}
        groups.setdefault(next(source for source in SOURCES if source in found), []).append(point)
    return {source: groups[source] for source in SOURCES if source in groups} or {"predicted": []}


def _points(result: Result, points: Sequence[Point], x: Quantity, y: Quantity, name: str, **more: Any) -> Figure:
    texts = [_text(result, point) for point in points]
    return scatter([p[x] for p in points], [p[y] for p in points], name, hover="%{text}", text=texts, **more)


def _verified_traces(
    result: Result, verified: Sequence[FrontPoint], networks: dict[str, int], x: Quantity, y: Quantity
) -> list[Figure]:
    """Lines that tie estimates to what was found, and diamonds there."""
    found = [(result.known(point, x), result.known(point, y)) for point in verified]
    ties: tuple[list[float | None], list[float | None]] = ([], [])
    for point, (known_x, known_y) in zip(verified, found, strict=True):
        ties[0].extend((point[x], known_x, None))
        ties[1].extend((point[y], known_y, None))
    marker = {"symbol": "diamond-open", "size": 11, "color": MEASURED_COLOUR, "line": {"width": 2}}
    texts = [_verified_text(result, point) for point in verified]
    linked: dict[str, Any] = {"text": texts, "customdata": [networks[point.architecture] for point in verified]}
    xs, ys = zip(*found, strict=True)
    return [
        scatter(*ties, mode="lines", line={"color": MEASURED_COLOUR, "width": 1, "dash": "dot"}),
        scatter(xs, ys, "trained and measured", hover="%{text}", marker=marker, **linked),
    ]


def _is_verified(result: Result, point: FrontPoint, *pair: Quantity) -> bool:
    whole = all(result.known(point, objective) is not None for objective in pair)
    return whole and any(point.checked(objective) is not None for objective in pair)


def _lower_left(points: Iterable[FrontPoint], x: Quantity, y: Quantity) -> list[FrontPoint]:
    """Those that no other point beats in both objectives, by rising x."""
    kept: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (point[x], point[y])):
        if not kept or point[y] < kept[-1][y]:
            kept.append(point)
    return kept


def _ray_marker(rays: Sequence[Ray]) -> Figure:
    return {
        "color": [preference_colour(ray.preference) for ray in rays], "opacity": 1,
        "size": [11 if ray.nondominated else 8 for ray in rays], "line": {"color": "#ffffff", "width": 1},
    }  # fmt: skip


def _network_line(
    result: Result, point: Ray | FrontPoint, number: int, scales: Sequence[tuple[float, float, bool]]
) -> Figure:
    """The line of a network through the posts of all objectives, dotted where another network dominates it."""
    tint = FURTHER_COLOUR if point.preference is None else preference_colour(point.preference)
    width, dash = (2.2, "solid") if point.nondominated else (1, "dot")
    symbols = ["circle", *(SOURCES[point.source(cost)].symbol for cost in result.costs)]
    return scatter(
        range(len(scales)), [_height(point[o], *scale) for o, scale in zip(result.objectives, scales, strict=True)],
        mode="lines+markers", hover="%{text}", text=_text(result, point), customdata=[number] * len(scales),
        line={"color": tint, "width": width, "dash": dash}, cliponaxis=False,
        marker={"color": tint, "symbol": symbols, "size": 7, "line": {"color": "#ffffff", "width": 1}},
    )  # fmt: skip


def _scale(values: Sequence[float]) -> tuple[float, float, bool]:
    return min(values, default=0.0), max(values, default=1.0), wants_log(values)


def _height(value: float, low: float, high: float, log: bool) -> float:
    """Where a value stands between the least and the largest, 0 to 1."""
    if high <= low:
        return 0.5
    share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
    return round(share, 5)


def _text(result: Result, point: Point) -> str:
    title = "random search"
    if isinstance(point, (Ray, FrontPoint)):
        title = "evaluated on the way"
        if point.preference is not None:
            title = f"preference ({', '.join(number(weight, 2) for weight in point.preference)})"
    return f"<b>{title}</b><br>{_folded(result, point)}"


def _verified_text(result: Result, point: FrontPoint) -> str:
    values = [(objective, point.checked(objective)) for objective in result.objectives]
    found = ", ".join(f"{o.name} {o.measured(o.text(value))}" for o, value in values if value is not None)
    return f"<b>trained and measured</b><br>{escape(found, quote=False)}<br>before: {_folded(result, point)}"


def _folded(result: Result, point: Point) -> str:
    """Values and architecture, in lines that a label of Plotly can hold."""
    words = escape(value_words(result, point), quote=False).replace("), ", "),<br>")
    text = point.architecture if len(point.architecture) <= 200 else point.architecture[:199] + "…"
    return f"{words}<br>{escape(text, quote=False).replace('+', '+<br>')}"
