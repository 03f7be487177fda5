"""One figure of a paper, drawn by matplotlib: a column wide, without a title, its legend below."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure as Canvas

from modnas_fast.report.canvas import dress, new_figure
from modnas_fast.report.drawing import draw, handles
from modnas_fast.report.run.plots import preference_bar
from modnas_fast.report.traces import Figure

#: of the axes, to the width; a row of the legend, and a row of categories, in inches
HEIGHT, LEGEND_ROW, CATEGORY_ROW = 0.72, 0.15, 0.17
#: of small text in points; of a letter of it and of a sample of the legend, in inches
SMALL, LETTER, SAMPLE = 7, 0.056, 0.4


def paper_canvas(figure: Figure, width: float, preference: str = "") -> Canvas:
    """The figure, that many inches wide; with the name of a quality, a bar tells what colours of preferences mean."""
    entries = handles([figure])
    widest = max((SAMPLE + LETTER * len(entry.get_label()) for entry in entries), default=width)
    columns = max(1, min(4, len(entries), int(width / widest)))
    rows = math.ceil(len(entries) / columns)
    categories = len(figure["layout"]["yaxis"].get("ticktext", ())) if _has_categories(figure) else 0
    canvas = new_figure(width, max(HEIGHT * width, CATEGORY_ROW * categories + 0.5) + LEGEND_ROW * rows)
    axes = canvas.subplots()
    dress(axes)
    draw(axes, figure)
    if preference:
        preference_bar(canvas, preference)
    for each in canvas.axes:
        each.tick_params(labelsize=SMALL)
        each.yaxis.label.set_fontsize(SMALL + 1)
        each.xaxis.label.set_fontsize(SMALL + 1)
    if entries:
        look: dict[str, Any] = {"columnspacing": 1.0, "handlelength": 1.8, "frameon": False, "fontsize": SMALL}
        canvas.legend(handles=entries, loc="outside lower center", ncols=columns, **look)
    return canvas


def _has_categories(figure: Figure) -> bool:
    return figure["layout"]["yaxis"].get("autorange") == "reversed"
