"""Figures of the page drawn with matplotlib: the same places, scales, looks and names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from modnas_fast.report.canvas import new_figure
from modnas_fast.report.drawing import draw, handles, text_of
from modnas_fast.report.traces import axis, diagonal, figure, scatter, value_axis


def drawn(content: dict[str, Any], **options: Any) -> Any:
    axes = new_figure(4, 3).subplots(**options)
    draw(axes, content)
    return axes


def test_steps_and_points_stand_where_the_page_has_them() -> None:
    line = {"shape": "hv", "color": "#112233", "width": 2, "dash": "dash"}
    marker = {"color": ["#ff0000", "#00ff00"], "size": [8, 4], "symbol": "square", "line": {"width": 1}}
    steps = scatter([1, 2, None], [3, 1, None], "front", "lines", line=line)
    axes = drawn(figure([steps, scatter([1, 2], [3, 1], marker=marker)], axis("a (ms)"), axis("b & <c>")))
    (path,) = axes.lines
    assert path.get_drawstyle() == "steps-post"
    assert (path.get_color(), path.get_linestyle()) == ("#112233", "--")
    assert path.get_xdata()[:2].tolist() == [1, 2]
    assert math.isnan(path.get_xdata()[2])
    (points,) = axes.collections
    assert points.get_offsets().tolist() == [[1, 3], [2, 1]]
    assert [to_hex(face) for face in points.get_facecolors()] == ["#ff0000", "#00ff00"]
    assert points.get_sizes().tolist() == [36, 9]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a (ms)", "b & <c>")


def test_symbols_may_differ_and_open_ones_are_empty() -> None:
    marker = {"color": "#0000ff", "symbol": ["circle", "square", "circle"], "size": 6}
    hollow = {"color": "#0000ff", "symbol": "diamond-open", "size": 6}
    axes = drawn(figure([scatter([1, 2, 3], [1, 2, 3], marker=marker), scatter([1], [1], marker=hollow)], {}, {}))
    circles, squares, diamonds = axes.collections
    assert circles.get_offsets()[:, 0].tolist() == [1, 3]
    assert squares.get_offsets()[:, 0].tolist() == [2]
    assert len(diamonds.get_facecolors()) == 0


def test_scales_are_those_of_the_page() -> None:
    values = [1.0, 40.0]
    layout = value_axis("cost", values), {"autorange": "reversed"}
    axes = drawn(figure([diagonal(values)], *layout))
    axes.figure.canvas.draw()
    assert axes.get_xscale() == "log"
    assert axes.yaxis.get_inverted()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "5", "10", "20"]
    axes = drawn(figure([diagonal(values)], axis("x", range=[-1, 50]), axis("y", rangemode="tozero")))
    assert axes.get_xlim() == (-1, 50)
    assert axes.get_ylim()[0] == 0


def test_corners_of_the_triangle_are_preferences_for_one_objective() -> None:
    trace = {"type": "scatterternary", "mode": "markers", "a": [1, 0, 0, 1 / 3], "b": [0, 1, 0, 1 / 3]}
    trace |= {"c": [0, 0, 1, 1 / 3], "marker": {"color": "#000000"}}
    ternary = {f"{key}axis": axis(name) for key, name in zip("abc", ("top", "left", "right"), strict=True)}
    axes = drawn({"data": [trace], "layout": {"ternary": ternary}})
    top, left, right, middle = axes.collections[0].get_offsets().tolist()
    assert (left, right) == ([0, 0], [1, 0])
    assert np.hypot(*np.subtract(top, left)) == pytest.approx(1)
    assert middle == pytest.approx([0.5, top[1] / 3])
    names = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert names == {"top": 0.5, "left": 0, "right": 1}


def test_bars_stand_side_by_side_with_their_names() -> None:
    bars = [
        {"type": "bar", "name": name, "y": ["a:<br>1", "a:<br>2"], "x": lengths, "marker": {"color": colour},
         "error_x": {"array": [0.1, None], "color": "#000000"}}
        for name, colour, lengths in (("search", "#ff0000", [1, 2]), ("unseen", "#00ff00", [3, None]))
    ]  # fmt: skip
    axes = drawn(figure(bars, axis("x", rangemode="tozero"), {"autorange": "reversed"}))
    first, second = (container for container in axes.containers if hasattr(container, "patches"))
    assert [patch.get_width() for patch in first] == [1, 2]
    assert second[0].get_width() == 3
    assert second[0].get_y() >= first[0].get_y() + first[0].get_height()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a: 1", "a: 2"]


def test_the_legend_names_each_kind_of_trace_once_in_order() -> None:
    line, marker = {"color": "#ff0000"}, {"color": "#0000ff", "symbol": "diamond-open"}
    traces = [scatter([], [], "front", "lines", line=line), scatter([], [], "a & <b>", marker=marker), scatter([], [])]
    entries = handles([figure(traces, {}, {}), figure(traces, {}, {})])
    assert [entry.get_label() for entry in entries] == ["front", "a & <b>"]
    assert entries[0].get_color() == "#ff0000"
    assert (entries[1].get_marker(), entries[1].get_markerfacecolor()) == ("D", "none")


def test_texts_lose_their_markup_and_what_matplotlib_would_read() -> None:
    assert text_of("<b>x</b><br>&lt;i&gt; $y$") == r"x <i> \$y\$"
