"""Architectures as drawings in a PNG file: the geometry of `cells`, on matplotlib's axes."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, Polygon
from matplotlib.path import Path as Curve

from modnas_fast.report import cells
from modnas_fast.report.canvas import new_figure
from modnas_fast.report.marks import plain, spread
from modnas_fast.report.run.contents import FrontPoint, Result
from modnas_fast.report.run.fronts import value_words

SHOWN = 6
INK = "#1c2430"


def cells_figure(result: Result) -> Figure | None:
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
            _panel(axes, chosen[place], result)
    counted = f"{len(chosen)} of {len(device.front)}"
    title = f"Front of {plain(device.name)}, least {plain(cost.name, 20)} first ({counted})"
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    if cells.draws(result.space.name):
        figure.legend(handles=_handles(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _panel(axes: Axes, point: FrontPoint, result: Result) -> None:
    words = value_words(result, point).replace("), ", "),\n")
    axes.set_title("\n".join(plain(line, 60) for line in words.split("\n")), fontsize=8.5)
    edges = cells.cell_edges(point.architecture) if cells.draws(result.space.name) else None
    if edges is None:
        text = plain(point.architecture, 160)
        lines = "\n".join(text[i : i + 40] for i in range(0, len(text), 40))
        axes.text(0.5, 0.5, lines, ha="center", va="center", fontsize=8, family="monospace")
        return
    for edge in sorted(edges, key=lambda edge: edge.live):
        _draw_edge(axes, edge)
    for index, x in enumerate(cells.NODES):
        face, ink = (INK, "white") if index in (0, len(cells.NODES) - 1) else ("white", INK)
        axes.add_patch(Circle((x, cells.BASELINE), cells.RADIUS, facecolor=face, edgecolor=INK, zorder=5))
        _write(axes, (x, cells.BASELINE), cells.node_name(index), 7, ink)
    axes.set_xlim(0, cells.SIZE[0])
    axes.set_ylim(cells.SIZE[1], 0)
    axes.set_aspect("equal")


def _draw_edge(axes: Axes, edge: cells.Edge) -> None:
    mark, alpha = cells.MARKS[edge.operation], 1.0 if edge.live else 0.22
    path = Curve(cells.curve(edge), [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3])
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-", capstyle="butt", alpha=alpha, **_line(mark)))
    corners = cells.arrow(edge)
    axes.add_patch(
        Polygon(list(zip(corners[::2], corners[1::2], strict=True)), color=mark.colour, alpha=alpha, linewidth=0)
    )
    box = {"boxstyle": "square,pad=0.2", "facecolor": "white", "edgecolor": "none"}
    _write(axes, cells.middle(edge), mark.short, 7.5, INK if edge.live else "#9aa3ad", bbox=box)


def _write(axes: Axes, place: tuple[float, float], text: str, size: float, ink: str, **more: Any) -> None:
    axes.text(*place, text, ha="center", va="center", fontsize=size, color=ink, zorder=6, **more)


def _line(mark: cells.Mark) -> dict[str, Any]:
    dashes: Any = (0, tuple(length / mark.width for length in mark.dash)) if mark.dash else "-"
    return {"color": mark.colour, "linewidth": mark.width * 0.6, "linestyle": dashes}


def _handles() -> list[Line2D]:
    handles = [Line2D([], [], label=mark.label, **_line(mark)) for mark in cells.MARKS.values()]
    faint = Line2D(
        [], [], color=handles[0].get_color(), linewidth=2, alpha=0.25, label="faint: no effect on the output"
    )
    return [*handles, faint]
