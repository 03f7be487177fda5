"""Plotly's plain JSON drawn on matplotlib's axes: the figures of the pages become PNG files as they stand.

What `traces` and the figures of both reports use is drawn: points, lines, areas, bars, and points in polar, spatial and
ternary coordinates. Sizes are Plotly's pixels, which are three quarters of matplotlib's points.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import unescape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from modnas_fast.report.marks import plain
from modnas_fast.report.traces import FAINT, Figure

POINTS = 0.75
MARKERS: dict[str, Any] = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "x": "X", "star": "*",
    "pentagon": "p", "x-thin": "x", "cross-thin": "+", "y-up-thin": "2", "y-down-thin": "1", "asterisk-thin": (6, 2, 0),
}  # fmt: skip
DASHES = {"solid": "-", "dash": "--", "dot": ":"}
CORNERS = np.array([[0.5, math.sqrt(0.75)], [0.0, 0.0], [1.0, 0.0]])
"""Of the triangle: top, left, right."""


def draw(axes: Axes, figure: Figure) -> None:
    """Draws the traces in their order, and the scales and titles of the axes."""
    layout = figure["layout"]
    stacked = [trace for trace in figure["data"] if "stackgroup" in trace]
    if stacked:
        heights = [np.nan_to_num(as_array(trace["y"])) for trace in stacked]
        colours = [trace["fillcolor"] for trace in stacked]
        axes.stackplot(stacked[0]["x"], heights, colors=colours, edgecolor="white", linewidth=0.5)
        axes.margins(x=0)
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    for place, trace in enumerate(bars):
        _draw_bars(axes, trace, (place - (len(bars) - 1) / 2) * 0.8 / len(bars), 0.76 / len(bars))
    for order, trace in enumerate(figure["data"]):
        if trace.get("fill") == "toself":
            axes.fill(trace["x"], trace["y"], color=trace["line"]["color"], alpha=0.12, linewidth=0, zorder=1.5)
        elif "stackgroup" not in trace and trace["type"] != "bar":
            _draw_points(axes, trace, _coordinates(trace, layout), 2 + order)
    if "ternary" in layout:
        _draw_triangle(axes, layout["ternary"])
    for which in "xy":
        if f"{which}axis" in layout:
            _set_axis(axes, which, layout[f"{which}axis"])
    _annotate(axes, layout)


def handles(figures: Iterable[Figure]) -> list[Any]:
    """Legend entries, one for each name of the figures' traces."""
    named = [trace for figure in figures for trace in figure["data"] if trace.get("name")]
    return [_handle(trace) for trace in {trace["name"]: trace for trace in reversed(named)}.values()][::-1]


def title_of(axis: Figure) -> str:
    """The title of an axis as text."""
    return text_of(axis.get("title", {}).get("text", ""))


def text_of(markup: str, limit: int = 48) -> str:
    """What Plotly's subset of HTML says, as matplotlib draws it.

    >>> text_of("&lt;b&gt; of<br>$x")
    '<b> of \\\\$x'
    """
    return plain(unescape(re.sub("<[^>]*>", " ", markup)), limit)


def as_array(values: Sequence[float | None]) -> np.ndarray:
    """The values as an array in which missing ones are NaN."""
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _coordinates(trace: Figure, layout: Figure) -> list[Any]:
    if trace["type"] == "scatterpolar":
        names = layout["polar"]["angularaxis"]["categoryarray"]
        angles = 2 * np.pi * np.arange(len(names) + 1) / max(1, len(names))
        return [angles, as_array(trace["r"])]
    if trace["type"] == "scatterternary":
        return list((np.column_stack([trace[key] for key in "abc"]) @ CORNERS).T) if trace["a"] else [[], []]
    if trace["type"] == "scatter3d":
        return [as_array(trace[key]) for key in "xyz"]
    # bars of another panel may have given names to the places
    y = trace["y"]
    return [as_array(trace["x"]), np.arange(len(y)) if y and isinstance(y[0], str) else as_array(y)]


def _draw_points(axes: Axes, trace: Figure, xy: list[Any], order: int) -> None:
    opacity = trace.get("opacity", 1)
    if "lines" in trace["mode"]:
        steps = "steps-post" if trace["line"].get("shape") == "hv" else "default"
        axes.plot(*xy, drawstyle=steps, alpha=opacity, zorder=order, **_line_style(trace))
    if "markers" not in trace["mode"] or not len(xy[0]):
        return
    symbols = trace["marker"].get("symbol", "circle")
    every = np.array([symbols] * len(xy[0]) if isinstance(symbols, str) else symbols)
    shown = slice(None, None, max(1, len(xy[0]) // trace["marker"].get("maxdisplayed", len(xy[0]))))
    for symbol in dict.fromkeys(every.tolist()):
        chosen = np.flatnonzero(every == symbol)[shown]
        style = _marker_style(trace["marker"], symbol, chosen)
        if "cliponaxis" in trace:
            style["clip_on"] = trace["cliponaxis"]
        if len(xy) == 3:  # Plotly's symbols in space are larger than their size says
            style |= {"depthshade": False, "s": 4 * style["s"]}
        style["alpha"] = opacity * trace["marker"].get("opacity", 1)
        axes.scatter(*(np.asarray(column)[chosen] for column in xy), zorder=order + 0.5, **style)


def _line_style(trace: Figure) -> dict[str, Any]:
    line = trace["line"]
    dash = DASHES[line.get("dash", "solid")]
    return {"color": line["color"], "linewidth": POINTS * line.get("width", 2), "linestyle": dash}


def _marker_style(marker: Figure, symbol: str, chosen: np.ndarray) -> dict[str, Any]:
    """How the `chosen` points are drawn, which share the symbol."""
    sizes, colours = (np.asarray(marker.get(key, default)) for key, default in (("size", 6), ("color", "#666970")))
    edge = marker.get("line", {})
    style: dict[str, Any] = {
        "marker": MARKERS[symbol.removesuffix("-open")],
        "s": (POINTS * (sizes[chosen] if sizes.ndim else sizes)) ** 2,
        "linewidths": POINTS * edge.get("width", 1),
    }
    if symbol.endswith("-open"):
        return style | {"facecolors": "none", "edgecolors": str(colours)}
    if symbol.endswith("-thin"):
        return style | {"color": edge["color"]}
    face = colours[chosen].tolist() if colours.ndim else str(colours)
    return style | {"facecolors": face, "edgecolors": edge.get("color", "white")}


def _draw_bars(axes: Axes, trace: Figure, shift: float, height: float) -> BarContainer:
    names = [text_of(name) for name in trace["y"]]
    places = np.arange(len(names))
    error = {"ecolor": trace["error_x"]["color"], "elinewidth": 0.9, "capsize": 2}
    lengths, spreads = as_array(trace["x"]), as_array(trace["error_x"]["array"])
    axes.set_yticks(places, names, fontsize=8.5)
    axes.grid(False, axis="y")
    colour = trace["marker"]["color"]
    return axes.barh(places + shift, lengths, height, xerr=spreads, color=colour, error_kw=error)


def _draw_triangle(axes: Axes, ternary: Figure) -> None:
    """The rim, lines at fifths, and at each corner the objective whose weight is one there."""
    axes.set_axis_off()
    axes.set_aspect("equal")
    for share in (0.2, 0.4, 0.6, 0.8):
        for corner in range(3):
            at, one, two = (CORNERS[(corner + turn) % 3] for turn in range(3))
            ends = np.array([share * at + (1 - share) * one, share * at + (1 - share) * two])
            axes.plot(*ends.T, color="#e8ebef", linewidth=0.7, zorder=1)
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color=FAINT, linewidth=1, zorder=1)
    for corner, key, below in zip(CORNERS, ("aaxis", "baxis", "caxis"), (0.04, -0.1, -0.1), strict=True):
        axes.text(corner[0], corner[1] + below, title_of(ternary[key]), ha="center", fontsize=8)
    axes.set_xlim(-0.2, 1.2)
    axes.set_ylim(-0.16, 1.0)


def _set_axis(axes: Axes, which: str, axis: Figure) -> None:
    side = getattr(axes, f"{which}axis")
    if axis.get("type") == "log":
        axes.set(**{f"{which}scale": "log"})
        limits = getattr(axes, f"get_{which}lim")()
        words = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
        side.set_major_locator(FixedLocator([tick for tick in words if limits[0] <= tick <= limits[1]]))
        side.set_major_formatter(FuncFormatter(lambda value, _: words.get(value, f"{value:g}")))
        side.set_minor_formatter(NullFormatter())
    elif "tickvals" in axis:
        getattr(axes, f"set_{which}ticks")(axis["tickvals"], [text_of(text) for text in axis["ticktext"]])
    elif axis.get("visible") is False:
        side.set_visible(False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
    elif "autorange" not in axis:
        side.set_major_locator(MaxNLocator(5))
    if "range" in axis:
        axes.set(**{f"{which}lim": axis["range"]})
    if axis.get("autorange") == "reversed" and not side.get_inverted():
        side.set_inverted(True)
    if axis.get("rangemode") == "tozero":
        low, high = getattr(axes.dataLim, f"interval{which}")
        axes.set(**{f"{which}lim": (0 if low >= 0 else None, 0 if high <= 0 else None)})
    if axis.get("zeroline"):
        getattr(axes, f"ax{'v' if which == 'x' else 'h'}line")(0, color=FAINT, linewidth=0.8, zorder=1)
    getattr(axes, f"set_{which}label")(title_of(axis), fontsize=9)


def _annotate(axes: Axes, layout: Figure) -> None:
    for shape in layout.get("shapes", ()):
        if shape["type"] == "rect":  # a band from edge to edge
            along = "x" if shape.get("yref") == "paper" else "y"
            span = axes.axvspan if along == "x" else axes.axhspan
            look = {"color": shape["fillcolor"], "alpha": shape["opacity"], "linewidth": 0, "zorder": 0}
            span(shape[f"{along}0"], shape[f"{along}1"], **look)
            continue
        axes.plot(
            [shape["x0"], shape["x1"]], [shape["y0"], shape["y1"]], color=shape["line"]["color"], linewidth=1, zorder=1
        )
    for note in layout.get("annotations", ()):
        places = {"bottom": "bottom", "top": "top"}
        style: dict[str, Any] = {"ha": "center", "va": places[note["yanchor"]], "fontsize": 7.5, "color": "#566070"}
        axes.text(note["x"], note["y"], text_of(note["text"]), **style)


def _handle(trace: Figure) -> Any:
    name = text_of(trace["name"])
    if "stackgroup" in trace or trace["type"] == "bar":
        return Patch(color=trace.get("fillcolor") or trace["marker"]["color"], label=name)
    style: dict[str, Any] = {"linestyle": ""}
    if "lines" in trace["mode"]:
        style = _line_style(trace)
    if "markers" in trace["mode"]:
        marker, symbol = trace["marker"], trace["marker"].get("symbol", "circle")
        symbol = symbol if isinstance(symbol, str) else (symbol or ["circle"])[0]
        colour = marker["color"] if isinstance(marker["color"], str) else "#666970"
        face = "none" if symbol.endswith("-open") else colour
        edge = colour if symbol.endswith(("-open", "-thin")) else "white"
        style |= {"marker": MARKERS[symbol.removesuffix("-open")], "markersize": 6}
        style |= {"markerfacecolor": face, "markeredgecolor": edge}
    return Line2D([], [], label=name, **style)
