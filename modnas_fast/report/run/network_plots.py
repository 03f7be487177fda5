"""Architectures as drawings in a PNG file: their shapes on matplotlib's axes."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle as Disc
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patches import Polygon as Patch
from matplotlib.path import Path

from modnas_fast.report.canvas import new_figure
from modnas_fast.report.drawings import Box, Circle, Curve, Drawing, Drawings, Polygon, Sample, Shape, Stroke
from modnas_fast.report.marks import plain, spread
from modnas_fast.report.run.contents import FrontPoint, Result
from modnas_fast.report.run.fronts import value_words

SHOWN = 6
INK = "#1c2430"


def networks_figure(result: Result, drawings: Drawings | None) -> Figure | None:
    """Networks along the front of the first device that has one, search devices first; None without any."""
    ordered = sorted(result.devices, key=lambda device: device.unseen)
    device = next((device for device in ordered if device.front), None)
    if device is None:
        return None
    cost = result.costs[0]
    chosen = spread(sorted(device.front, key=lambda point: point[cost]), SHOWN)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(max(6.4, 3.5 * columns), (1.45 + 0.15 * len(result.objectives)) * rows + 1.0)
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if place < len(chosen):
            drawing = drawings.networks.get(chosen[place].architecture) if drawings else None
            _panel(axes, chosen[place], result, drawing)
    counted = f"{len(chosen)} of {len(device.front)}"
    title = f"Front of {plain(device.name)}, least {plain(cost.name, 20)} first ({counted})"
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    if drawings and drawings.networks and drawings.legend:
        figure.legend(
            handles=[_handle(sample) for sample in drawings.legend],
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=9,
        )
    return figure


def _panel(axes: Axes, point: FrontPoint, result: Result, drawing: Drawing | None) -> None:
    words = value_words(result, point).replace("), ", "),\n")
    axes.set_title("\n".join(plain(line, 60) for line in words.split("\n")), fontsize=8.5)
    if drawing is None:
        text = plain(point.architecture, 160)
        lines = "\n".join(text[i : i + 40] for i in range(0, len(text), 40))
        axes.text(0.5, 0.5, lines, ha="center", va="center", fontsize=8, family="monospace")
        return
    for order, piece in enumerate(drawing.pieces):
        for shape in piece.shapes:
            _draw(axes, shape, piece.live, 2 + order)
    axes.set_xlim(0, drawing.size[0])
    axes.set_ylim(drawing.size[1], 0)
    axes.set_aspect("equal")


def _draw(axes: Axes, shape: Shape, live: bool, order: int) -> None:
    alpha = 1.0 if live else 0.22
    if isinstance(shape, Curve):
        path = Path(shape.points, [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        style = _line(shape.stroke)
        axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-", capstyle="butt", alpha=alpha, zorder=order, **style))
    elif isinstance(shape, Polygon):
        axes.add_patch(Patch(shape.points, color=shape.colour, alpha=alpha, linewidth=0, zorder=order))
    elif isinstance(shape, Circle):
        face = INK if shape.filled else "white"
        axes.add_patch(Disc(shape.at, shape.radius, facecolor=face, edgecolor=INK, zorder=order + 0.5))
    elif isinstance(shape, Box):
        fill = {"facecolor": shape.colour, "linewidth": 0}
        outline = {"fill": False, "edgecolor": shape.colour, "linestyle": (0, (3, 3)), "linewidth": 0.6}
        style = {"alpha": 1.0, **(fill if shape.filled else outline)}
        axes.add_patch(Rectangle(shape.at, *shape.size, zorder=order, **style))
    else:
        ink = "white" if shape.look == "light" else INK if live else "#9aa3ad"
        back = {"boxstyle": "square,pad=0.2", "facecolor": "white", "edgecolor": "none"}
        more: dict[str, Any] = {"bbox": back} if shape.look == "boxed" else {}
        text = plain(shape.text, 20)
        axes.text(*shape.at, text, ha="center", va="center", fontsize=7, color=ink, zorder=order + 1, **more)


def _line(stroke: Stroke) -> dict[str, Any]:
    dashes: Any = (0, tuple(length / stroke.width for length in stroke.dash)) if stroke.dash else "-"
    return {"color": stroke.colour, "linewidth": stroke.width * 0.6, "linestyle": dashes}


def _handle(sample: Sample) -> Line2D | Rectangle:
    alpha = 0.25 if sample.faint else 1.0
    if not sample.stroke.width:
        return Rectangle((0, 0), 1, 1, label=sample.label, color=sample.stroke.colour, alpha=alpha)
    return Line2D([], [], label=sample.label, alpha=alpha, **_line(sample.stroke))
