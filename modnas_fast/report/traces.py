"""Figures as Plotly's plain JSON, `{"data": [traces], "layout": {...}}`: what those of both reports are made from.

A trace that a button of the page hides carries the index of its device or method as `meta`. Where traces share a name,
`legendgroup` says what tells one from the others in words. Names reach Plotly escaped, because it reads its texts as a
subset of HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from modnas_fast.report.marks import log_ticks, wants_log

Figure = dict[str, Any]
FAINT = "#94a3b8"


def figure(traces: Iterable[Figure], x: Figure, y: Figure, **layout: Any) -> Figure:
    """A figure with two axes."""
    return {"data": list(traces), "layout": {"xaxis": x, "yaxis": y, **layout}}


def axis(title: str, **more: Any) -> Figure:
    """An axis with a title."""
    return {"title": {"text": escape(title, quote=False)}, **more}


def value_axis(title: str, values: Iterable[float | None]) -> Figure:
    """An axis with a title, logarithmic where its values are widely spread."""
    numbers = [value for value in values if value is not None]
    if not wants_log(numbers):
        return axis(title)
    ticks = log_ticks(min(numbers), max(numbers))
    return axis(title, type="log", tickvals=ticks, ticktext=[_tick(tick) for tick in ticks])


def scatter(
    x: Sequence[Any], y: Sequence[Any], name: str = "", mode: str = "markers", hover: str | None = None, **more: Any
) -> Figure:
    """A trace of points or lines; without a `hover` template the mouse finds nothing of it."""
    found = {"hoverinfo": "skip"} if hover is None else {"hovertemplate": f"{hover}<extra></extra>"}
    named = {"name": escape(name, quote=False)} if name else {}
    return {"type": "scatter", "mode": mode, "x": list(x), "y": list(y), **named, **found, **more}


def diagonal(values: Sequence[float]) -> Figure:
    """The line on which both axes agree."""
    ends = [min(values), max(values)]
    return scatter(ends, ends, mode="lines", line={"color": FAINT, "width": 1.5, "dash": "dot"})


def _tick(value: float) -> str:
    """Short text of a round number.

    >>> _tick(0.05), _tick(2000.0), _tick(20000.0), _tick(5e6), _tick(1e10)
    ('0.05', '2000', '20k', '5M', '10G')
    """
    sizes = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= 10_000 else ()
    return next((f"{value / size:g}{letter}" for size, letter in sizes if value >= size), f"{value:g}")
