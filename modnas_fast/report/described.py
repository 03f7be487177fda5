"""Figures in words and in numbers, read from Plotly's JSON: what stands for a picture that somebody does not see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import NamedTuple

from modnas_fast.report.marks import capital, number, significant, spread
from modnas_fast.report.prepared import Cell, Group, Table
from modnas_fast.report.traces import Figure

MOST_TOLD = 8
"""So many series are told one by one in words; of more, the outermost."""
MOST_ROWS = 24
"""Of a series in the table, evenly spread from its first to its last."""
LEFT_OUT = "points of a series, evenly spread"

Value = float | str


class Series(NamedTuple):
    """Points that share a name, a value per column; `ordered` where a line joins them."""

    name: str
    points: Sequence[tuple[Value, ...]]
    ordered: bool


class Description(NamedTuple):
    """What a figure shows: sentences with its numbers, and the table of its points."""

    words: str
    table: Table


def describe(figure: Figure, title: str) -> Description:
    """The figure in words and as a table.

    >>> line = {"type": "scatter", "mode": "lines", "name": "pi", "x": [0, 5], "y": [0.5, 0.75]}
    >>> axes = {f"{side}axis": {"title": {"text": text}} for side, text in (("x", "step"), ("y", "hypervolume"))}
    >>> describe({"data": [line], "layout": axes}, "Hypervolume").words
    'pi: 2 points, hypervolume from 0.500 to 0.750 over step 0 to 5.'
    """
    heads, every = _columns(figure), [series for series in _series(figure) if series.points]
    groups = [
        Group([[Cell(_text(value)) for value in point] for point in spread(series.points, MOST_ROWS)], series.name)
        for series in every
    ]
    shortened = any(len(series.points) > MOST_ROWS for series in every)
    caption = f"{title}: {f'{MOST_ROWS} {LEFT_OUT}' if shortened else 'every point'}"
    table = Table(caption, [capital(head) for head in heads], groups, "")
    told = [_posts(figure, every)] if _is_parallel(figure) else _told(every, heads)
    return Description(" ".join(told) or "Nothing is drawn.", table)


def _plain_text(markup: str) -> str:
    """What Plotly's subset of HTML says, in one line.

    >>> _plain_text("Φ update:<br>mgd &lt;1&gt;")
    'Φ update: mgd <1>'
    """
    return " ".join(unescape(re.sub("<[^>]*>", " ", markup)).split())


def _columns(figure: Figure) -> list[str]:
    """What the numbers of a point are, as the axes name them."""
    layout = figure["layout"]
    if "polar" in layout:
        return ["device", "hypervolume ratio"]
    if "ternary" in layout:
        return [f"weight of {_title(layout['ternary'][f'{key}axis'])}" for key in "abc"]
    if "scene" in layout:
        return [_title(layout["scene"][f"{key}axis"]) for key in "xyz"]
    if _is_parallel(figure):
        return ["network", "its values"]
    x, y = (_title(layout[axis]) for axis in ("xaxis", "yaxis"))
    if any(trace["type"] == "bar" for trace in figure["data"]):
        return ["value", x, "deviation"]
    return [x, y] if y else ["value", x]


def _series(figure: Figure) -> Iterator[Series]:
    """The traces that have a name or answer to the mouse; the others only guide the eye."""
    if _is_parallel(figure):
        lines = [trace["text"].split("<br>", 1) for trace in figure["data"]]
        yield Series("", [(_plain_text(head), _plain_text(rest)) for head, rest in lines], False)
        return
    for trace in figure["data"]:
        if "name" not in trace and "hovertemplate" not in trace:
            continue
        name = ", ".join(_plain_text(trace[key]) for key in ("name", "legendgroup") if key in trace)
        yield Series(name, _points(trace), trace["type"] == "scatter" and "lines" in trace["mode"])


def _points(trace: Figure) -> list[tuple[Value, ...]]:
    """The points of a trace as they are drawn, without those that lack a value."""
    if trace["type"] == "scatterpolar":
        columns = [trace["theta"][:-1], trace["r"][:-1]]
    elif trace["type"] == "bar":
        columns = [trace["y"], trace["x"], trace["error_x"]["array"]]
    else:
        keys = {"scatterternary": "abc", "scatter3d": "xyz"}.get(trace["type"], "xy")
        columns = [trace[key] for key in keys]
    if trace["type"] == "scatter" and trace["y"] and isinstance(trace["y"][0], str):
        columns.reverse()
    return [
        tuple(_plain_text(value) if isinstance(value, str) else value for value in point)
        for point in zip(*columns, strict=True)
        if None not in point
    ]


def _told(every: Sequence[Series], heads: Sequence[str]) -> list[str]:
    """A sentence on each of few series; of many, one on all lines and one on all groups of points."""
    if len(every) <= MOST_TOLD:
        return [_words(series, heads) for series in every]
    kinds = [[series for series in every if series.ordered is ordered] for ordered in (True, False)]
    return [_summary(kind, heads) for kind in kinds if kind]


def _words(series: Series, heads: Sequence[str]) -> str:
    points, count = series.points, len(series.points)
    start = f"{series.name}: " * bool(series.name) + f"{count} point{'s' * (count > 1)}, "
    if isinstance(points[0][0], str):
        low, high = (edge(points, key=lambda point: point[1]) for edge in (min, max))
        return f"{start}{heads[1]} from {_text(low[1])} ({low[0]}) to {_text(high[1])} ({high[0]})."
    if not series.ordered:
        spans = [f"{head} {_span([point[at] for point in points])}" for at, head in enumerate(heads)]
        return f"{start}{', '.join(spans)}."
    (x, y), places, values = heads, *zip(*points, strict=True)
    inner = f"; least {_text(min(values))}, most {_text(max(values))}"
    told = inner * ({min(values), max(values)} != {values[0], values[-1]})
    return f"{start}{y} from {_text(values[0])} to {_text(values[-1])} over {x} {_span(places)}{told}."


def _summary(every: Sequence[Series], heads: Sequence[str]) -> str:
    """Of many series: how many, and which is outermost, by their last values where lines join them."""
    at = 1 if isinstance(every[0].points[0][0], str) else len(heads) - 1
    ends = [(s.points[-1][at] if s.ordered else min(point[at] for point in s.points), s.name) for s in every]
    (low, lowest), (high, highest) = min(ends), max(ends)
    values = [point[at] for series in every for point in series.points]
    kind, which = ("lines", "last") if every[0].ordered else ("groups of points", "least")
    return (
        f"{len(every)} {kind} of {heads[at]}, {_span(values)} in all. The {which} value is lowest with {lowest} "
        f"({_text(low)}) and highest with {highest} ({_text(high)}). The table has each."
    )


def _posts(figure: Figure, every: Sequence[Series]) -> str:
    """How many networks lines lead to, and between which values of every objective."""
    titles = map(_plain_text, figure["layout"]["xaxis"]["ticktext"])
    ends = [_plain_text(note["text"]) for note in figure["layout"]["annotations"]]
    spans = (f"{title} {low} to {high}" for title, low, high in zip(titles, ends[::2], ends[1::2], strict=True))
    return f"{sum(len(series.points) for series in every)} lines, one per network: {', '.join(spans)}."


def _span(values: Sequence[Value]) -> str:
    low, high = _text(min(values)), _text(max(values))
    return low if low == high else f"{low} to {high}"


def _text(value: Value) -> str:
    """A value as the tables of the page have numbers: whole ones as they are, others to three digits."""
    if isinstance(value, str):
        return value
    return number(value, 0) if float(value).is_integer() and abs(value) < 10_000 else significant(value)


def _title(axis: Figure) -> str:
    return _plain_text(axis.get("title", {}).get("text", ""))


def _is_parallel(figure: Figure) -> bool:
    """Whether the axes are posts, one per objective: heights are no values, the texts of the lines tell them."""
    return figure["layout"].get("yaxis", {}).get("visible") is False
