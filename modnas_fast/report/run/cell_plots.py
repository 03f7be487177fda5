"""Architectures as drawings in a PNG file: the geometry of `cells`, on matplotlib's axes."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.path import Path as Curve

from modnas_fast.report import cells
from modnas_fast.report.marks import plain, spread
from modnas_fast.report.run.contents import DeviceResult, FrontPoint, Result
from modnas_fast.report.run.fronts import value_words

SHOWN = 6
Style = dict[str, Any]


def cells_figure(result: Result) -> Figure | None:
    """Cells along the front of the first device that has one, search devices first; None without any."""
    ordered = sorted(result.devices, key=lambda device: device.split != "search")
    device = next((device for device in ordered if device.front), None)
    if device is None:
        return None
    cost = result.costs[0]
    chosen = spread(sorted(device.front, key=lambda point: point[cost]), SHOWN)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(
        figsize=(max(6.4, 3.5 * columns), (1.45 + 0.15 * len(result.objectives)) * rows + 1.0),
        dpi=150,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for place, axes in enumerate(grid):
        axes.set_axis_off()
        if place < len(chosen):
            _panel(axes, chosen[place], result)
    _title(figure, device, cost.name, len(chosen))
    if cells.draws(result.space.name):
        figure.legend(handles=_handles(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _title(figure: Figure, device: DeviceResult, cost: str, shown: int) -> None:
    text = f"Front of {plain(device.name)}, least {plain(cost, 20)} first ({shown} of {len(device.front)})"
    figure.suptitle(text, fontsize=11, x=0.01, ha="left")


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
    for index in range(4):
        _draw_node(axes, index)
    axes.set_xlim(0, cells.SIZE[0])
    axes.set_ylim(cells.SIZE[1], 0)
    axes.set_aspect("equal")


def _draw_edge(axes: Axes, edge: cells.Edge) -> None:
    mark = cells.MARKS[edge.operation]
    alpha = 1.0 if edge.live else 0.22
    path = Curve(cells.curve(edge), [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3])
    line: Style = {
        "color": mark.colour,
        "alpha": alpha,
        "linewidth": mark.width * 0.6,
        "linestyle": _dashes(mark),
    }
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-", capstyle="butt", **line))
    _, control, end = cells.curve(edge)
    head: Style = {
        "arrowstyle": "-|>",
        "mutation_scale": 12,
        "linewidth": 0,
        "color": mark.colour,
        "alpha": alpha,
    }
    axes.add_patch(FancyArrowPatch(control, _beyond(control, end), shrinkA=0, shrinkB=0, **head))
    box: Style = {"boxstyle": "square,pad=0.2", "facecolor": "white", "edgecolor": "none"}
    colour = "#1c2430" if edge.live else "#9aa3ad"
    text: Style = {"ha": "center", "va": "center", "fontsize": 7.5, "color": colour, "bbox": box}
    axes.text(*cells.middle(edge), mark.short, **text)


def _beyond(control: tuple[float, float], end: tuple[float, float], distance: float = 3.5) -> tuple[float, float]:
    dx, dy = end[0] - control[0], end[1] - control[1]
    scale = 1 + distance / (dx * dx + dy * dy) ** 0.5
    return control[0] + dx * scale, control[1] + dy * scale


def _draw_node(axes: Axes, index: int) -> None:
    end = index in (0, 3)
    place = (cells.NODES[index], cells.BASELINE)
    face = "#1c2430" if end else "white"
    axes.add_patch(Circle(place, cells.RADIUS, facecolor=face, edgecolor="#1c2430", linewidth=1.1, zorder=5))
    text: Style = {
        "ha": "center",
        "va": "center",
        "fontsize": 7,
        "color": "white" if end else "#1c2430",
        "zorder": 6,
    }
    axes.text(*place, cells.node_name(index), **text)


def _dashes(mark: cells.Mark) -> Any:
    return (0, tuple(length / mark.width for length in mark.dash)) if mark.dash else "-"


def _handles() -> list[Line2D]:
    marks = list(cells.MARKS.values())
    handles = [
        Line2D([], [], color=m.colour, linewidth=m.width * 0.6, linestyle=_dashes(m), label=m.label) for m in marks
    ]
    faint = Line2D([], [], color=marks[0].colour, linewidth=2, alpha=0.25, label="faint: no effect on the output")
    return [*handles, faint]
