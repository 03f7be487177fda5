"""What all PNG plots share: figures on matplotlib's Agg canvas without global state, dressed alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from modnas_fast.report.drawing import draw, handles
from modnas_fast.report.marks import plain
from modnas_fast.report.traces import Figure
from modnas_fast.runtime.files import replacing

DPI = 150
PANEL = (3.3, 2.75)
"""Width and height of one small multiple, in inches."""
LEGEND_COLUMN = 2.3
"""Width in inches that a name of a legend takes at most."""
LEGEND_ROWS, LEGEND_COLUMNS = 18, 3
"""Of a legend beside the axes; further names are left out, and counted."""
GRID_COLOUR = "#e8ebef"
UNSEEN_FACE = "#f6f7f9"


def save_figures(figures: Mapping[str, Canvas | None], folder: Path) -> list[Path]:
    """The PNG files written to `folder`, each by rename; one without a figure is removed."""
    written = []
    for name, figure in figures.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)
        else:
            _lay_out(figure)
            with replacing(folder / name) as temporary:
                figure.savefig(temporary, format="png", dpi=DPI)
            written.append(folder / name)
    return written


def _lay_out(figure: Canvas) -> None:
    """Gives all its place for good: `savefig` would do so twice, and draw it once more to do so."""
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def small_multiples(title: str, panels: Sequence[tuple[str, bool, Figure]]) -> Canvas:
    """A grid of figures, on a darker ground where their device is unseen; a panel is (title, unseen, figure)."""
    columns = panel_columns(len(panels))
    rows = math.ceil(len(panels) / columns)
    canvas = new_figure(max(5.6, PANEL[0] * columns + 0.9), PANEL[1] * rows + 0.9)
    grid = canvas.subplots(rows, columns, squeeze=False).flat
    for place, axes in enumerate(grid):
        if place >= len(panels):
            axes.remove()
            continue
        head, unseen, figure = panels[place]
        dress(axes, head, 8.5)
        draw(axes, figure)
        if unseen:
            axes.set_facecolor(UNSEEN_FACE)
    _label_rim(canvas.axes, columns)
    canvas.suptitle(title, fontsize=12, x=0.01, ha="left")
    return canvas


def one_row(figures: Sequence[Figure], titles: Sequence[str], size: tuple[float, float], **options: Any) -> Canvas:
    """Figures side by side under their titles, each of that size in inches; `options` are those of subplots."""
    canvas = new_figure(size[0] * len(figures), size[1])
    row = canvas.subplots(1, len(figures), squeeze=False, **options)[0]
    for axes, figure, title in zip(row, figures, titles, strict=True):
        dress(axes, title)
        draw(axes, figure)
        if axes is not row[0] and options.get("sharey"):
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
    return canvas


def panel_title(name: str, unseen: bool, second: str) -> str:
    """A device's name, and below it a line of what was found."""
    return f"{plain(name)}\n{'unseen, ' * unseen}{second}"


def panel_columns(panels: int) -> int:
    """How many small multiples stand side by side."""
    return panels if panels <= 3 else 3 if panels <= 9 else 4


def new_figure(width: float, height: float) -> Canvas:
    """An empty white figure of that size in inches, which makes room for what stands outside its axes."""
    figure = Canvas(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, title: str = "", size: float = 10) -> None:
    """A light grid, two spines, and the title."""
    axes.grid(True, color=GRID_COLOUR, linewidth=0.7)
    axes.set_axisbelow(True)
    if "top" in axes.spines:
        axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_title(title, fontsize=size, loc="left")


def legend_right(canvas: Canvas, figures: Sequence[Figure]) -> None:
    """What the traces of the figures are called, to the right of all axes, where it covers no data."""
    entries = handles(figures)
    if (further := len(entries) - LEGEND_ROWS * LEGEND_COLUMNS) > 0:
        entries = [*entries[: -further - 1], Line2D([], [], linestyle="", label=f"and {further + 1} more")]
    columns = math.ceil(len(entries) / LEGEND_ROWS)
    canvas.set_figwidth(canvas.get_figwidth() + 2.9 * columns)
    canvas.legend(handles=entries, loc="outside right upper", frameon=False, fontsize=8, ncols=columns)


def legend_below(canvas: Canvas, figures: Sequence[Figure]) -> None:
    """What the traces of the figures are called, below all axes."""
    if entries := handles(figures):
        columns = min(4, len(entries), max(1, int(canvas.get_figwidth() / LEGEND_COLUMN)))
        canvas.legend(handles=entries, loc="outside lower center", frameon=False, fontsize=9, ncols=columns)


def _label_rim(axes: Sequence[Axes], columns: int) -> None:
    """Leaves titles on the axes at the left and the lower rim of the grid alone, where all have the same."""
    if len({(each.get_xlabel(), each.get_ylabel()) for each in axes}) > 1:
        return
    for place, each in enumerate(axes):
        if place + columns < len(axes):
            each.set_xlabel("")
        if place % columns:
            each.set_ylabel("")
