"""Cells drawn as graphs: which edges have an effect, and what the drawing says."""

from __future__ import annotations

from itertools import product
from xml.etree import ElementTree

import pytest
from report.make_run import OPERATIONS, cell_text

from modnas_fast.report.cells import cell_edges
from modnas_fast.report.rendering import cell_legend, draw_cell

NONE, SKIP, ONE, THREE, POOL = range(5)
PAIRS = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def liveness(operations: list[int]) -> dict[tuple[int, int], bool]:
    return {(edge.source, edge.target): edge.live for edge in cell_edges(cell_text(operations))}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([NONE] * 6, {}),
        ([NONE, NONE, NONE, THREE, NONE, NONE], {(0, 3): True}),
        ([SKIP, NONE, NONE, ONE, NONE, NONE], {(0, 1): False, (0, 3): True}),
        ([NONE, NONE, NONE, ONE, POOL, NONE], {(0, 3): True, (1, 3): False}),
        ([ONE, NONE, SKIP, NONE, NONE, THREE], {(0, 1): True, (1, 2): True, (2, 3): True}),
        ([NONE, ONE, SKIP, NONE, NONE, THREE], {(0, 2): True, (1, 2): False, (2, 3): True}),
        ([SKIP, POOL, ONE, NONE, NONE, NONE], {(0, 1): False, (0, 2): False, (1, 2): False}),
        ([THREE] * 6, dict.fromkeys(PAIRS, True)),
    ],
)
def test_dead_edges_by_hand(operations: list[int], expected: dict[tuple[int, int], bool]) -> None:
    assert liveness(operations) == expected


def test_an_edge_is_live_when_it_lies_on_a_path_from_input_to_output() -> None:
    paths = [[(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)]]
    for present in product((False, True), repeat=6):
        kept = {pair for pair, here in zip(PAIRS, present, strict=True) if here}
        on_a_path = {pair for path in paths if kept.issuperset(path) for pair in path}
        assert liveness([SKIP if here else NONE for here in present]) == {p: p in on_a_path for p in kept}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "conv-pool",
        cell_text([THREE] * 6)[:-1],
        cell_text([THREE] * 6) + "+|none~0|",
        cell_text([THREE] * 6).replace("~2", "~1"),
        cell_text([THREE] * 6).replace("nor_conv_3x3~2", "nor_conv_5x5~2"),
    ],
)
def test_other_texts_are_no_cells_and_are_shown_as_they_are(text: str) -> None:
    assert cell_edges(text) is None
    assert draw_cell("nb201", text).startswith('<p class="cell-text">')


def test_the_drawing_names_every_edge_and_marks_dead_ones() -> None:
    root = ElementTree.fromstring(draw_cell("nb201", cell_text([SKIP, NONE, NONE, THREE, NONE, POOL])))
    groups = {group.get("data-edge"): group for group in root if "edge" in group.get("class").split()}
    titles = {name: group.find("title").text for name, group in groups.items()}
    assert titles == {
        "0-1": "in to 1 skip connection, no effect on the output",
        "0-3": "in to out convolution 3×3",
        "2-3": "2 to out average pooling 3×3, no effect on the output",
    }
    assert {name for name, group in groups.items() if "dead" in group.get("class").split()} == {"0-1", "2-3"}
    assert root.get("role") == "img"
    assert root.get("aria-label").startswith("Cell: in to out convolution 3×3; without effect: ")


def test_a_cell_without_a_path_says_so() -> None:
    assert "no path from input to output" in draw_cell("nb201", cell_text([NONE] * 6))


def test_operations_differ_in_colour() -> None:
    colours = set()
    for operation in range(1, len(OPERATIONS)):
        root = ElementTree.fromstring(draw_cell("nb201", cell_text([NONE, NONE, NONE, operation, NONE, NONE])))
        colours.add(root.find("g/path").get("stroke"))
    assert len(colours) == len(OPERATIONS) - 1


def test_spaces_without_a_drawing_show_their_text_escaped() -> None:
    assert draw_cell("hat", "<b>2-4-6</b>") == ('<p class="cell-text"><code>&lt;b&gt;2-4-6&lt;/b&gt;</code></p>')
    assert cell_legend("hat") == ""
    assert cell_legend("nb201").count("<li>") == len(OPERATIONS)
