"""What all PNG plots share: figures on matplotlib's Agg canvas without global state, dressed alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from modnas_fast.report.marks import Shown, plain, wants_log
from modnas_fast.runtime.files import replacing

DPI = 150
Style = dict[str, Any]
"""Keyword arguments of matplotlib."""
PANEL = (3.3, 2.75)
"""Width and height of one small multiple, in inches."""
GRID_COLOUR = "#e8ebef"
UNSEEN_FACE = "#f6f7f9"


def save_figures(figures: Mapping[str, Figure | None], folder: Path) -> list[Path]:
    """The PNG files written to `folder`, each by rename; one without a figure is removed."""
    written = []
    for name, figure in figures.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)
        else:
            _save(figure, folder / name)
            written.append(folder / name)
    return written


def small_multiples(
    devices: Sequence[Shown], shown: Sequence[int], title: str, panel: Callable[[Axes, int], str]
) -> tuple[Figure, list[Axes]]:
    """A grid of panels, one per device `shown`; `panel` draws each and returns its second title line."""
    rows, columns = panel_rows(len(shown)), panel_columns(len(shown))
    figure = new_figure(max(5.6, PANEL[0] * columns + 0.9), PANEL[1] * rows + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    kept = []
    for place, axes in enumerate(grid):
        if place >= len(shown):
            axes.remove()
            continue
        device = devices[shown[place]]
        dress(axes, "", "", "")
        if device.split == "unseen":
            axes.set_facecolor(UNSEEN_FACE)
        _panel_title(axes, device, panel(axes, shown[place]))
        kept.append(axes)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    return figure, kept


def _panel_title(axes: Axes, device: Shown, second: str) -> None:
    unseen = "unseen, " if device.split == "unseen" else ""
    axes.set_title(f"{plain(device.name)}\n{unseen}{second}", fontsize=8.5, loc="left")


def label_grid(axes: Sequence[Axes], x: str, y: str) -> None:
    """Titles on the axes at the left and the lower rim of the grid alone."""
    columns = panel_columns(len(axes))
    for place, each in enumerate(axes):
        if place + columns >= len(axes):
            each.set_xlabel(x, fontsize=9)
        if place % columns == 0:
            each.set_ylabel(y, fontsize=9)


def panel_columns(panels: int) -> int:
    """How many small multiples stand side by side."""
    return panels if panels <= 3 else 3 if panels <= 9 else 4


def panel_rows(panels: int) -> int:
    """How many rows of small multiples there are."""
    return math.ceil(panels / panel_columns(panels))


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of that size in inches, which makes room for what stands outside its axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, x: str, y: str, title: str) -> None:
    """A light grid, two spines, and the titles of axes and panel."""
    axes.grid(True, color=GRID_COLOUR, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    if title:
        axes.set_title(title, fontsize=10, loc="left")


def set_scale(axes: Axes, which: str, values: Sequence[float | None]) -> None:
    """Makes the x or y axis logarithmic, with plain numbers, where its values are widely spread."""
    numbers = [value for value in values if value is not None]
    axis = getattr(axes, f"{which}axis")
    if not wants_log(numbers):
        axis.set_major_locator(MaxNLocator(5))
        return
    axes.set(**{f"{which}scale": "log"})
    wide = max(numbers) >= 100 * min(numbers)
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_right(figure: Figure, handles: Sequence[object]) -> None:
    """A legend to the right of all axes, where it covers no data."""
    columns = legend_columns(len(handles))
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8, ncols=columns)


def legend_columns(handles: int) -> int:
    """How many columns a legend to the right needs."""
    return math.ceil(handles / 18)


def as_array(values: Sequence[float | None]) -> np.ndarray:
    """The values as an array in which missing ones are NaN."""
    return np.array([math.nan if value is None else value for value in values])


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
