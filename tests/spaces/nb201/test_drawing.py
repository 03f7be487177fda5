"""Cells drawn as graphs: which edges have an effect, and what the drawing says."""

from __future__ import annotations

from itertools import product
from xml.etree import ElementTree

import pytest
from report.make_run import OPERATIONS, cell_text

from modnas_fast.report.drawings import Drawing, Drawings
from modnas_fast.report.rendering import draw_network, drawing_legend
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.drawing import cell_edges, draw_cell, legend

NONE, SKIP, ONE, THREE, POOL = range(5)
PAIRS = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def drawn(operations: list[int]) -> ElementTree.Element:
    """The page's SVG of a cell, as its file keeps it."""
    text = cell_text(operations)
    kept = Drawings(legend=legend(), networks={text: draw_cell(text)}).model_dump_json(by_alias=True)
    return ElementTree.fromstring(draw_network(Drawings.model_validate_json(kept), text))


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
def test_other_texts_are_no_cells(text: str) -> None:
    assert cell_edges(text) is None
    assert draw_cell(text) is None


def test_the_drawing_names_every_edge_and_marks_dead_ones() -> None:
    root = drawn([SKIP, NONE, NONE, THREE, NONE, POOL])
    titles = {group.find("title").text: group.get("class") for group in root if group.find("title") is not None}
    assert titles == {
        "in to 1 skip connection, no effect on the output": "dead",
        "in to out convolution 3×3": "live",
        "2 to out average pooling 3×3, no effect on the output": "dead",
    }
    assert root.get("role") == "img"
    assert root.get("aria-label").startswith("Cell: in to out convolution 3×3; without effect: ")
    assert [text.text for text in root.iter("text")][-4:] == ["in", "1", "2", "out"]


def test_a_cell_without_a_path_says_so() -> None:
    assert "no path from input to output" in drawn([NONE] * 6).get("aria-label")


def test_operations_differ_in_colour() -> None:
    colours = {
        drawn([NONE, NONE, NONE, operation, NONE, NONE]).find("g/path").get("stroke") for operation in range(1, 5)
    }
    assert len(colours) == len(OPERATIONS) - 1


def test_networks_without_a_drawing_show_their_text_escaped() -> None:
    shown = '<p class="cell-text"><code>&lt;b&gt;2-4-6&lt;/b&gt;</code></p>'
    assert draw_network(None, "<b>2-4-6</b>") == draw_network(Drawings(legend=legend()), "<b>2-4-6</b>") == shown
    assert drawing_legend(None) == drawing_legend(Drawings(legend=legend())) == ""
    space = NB201Space()
    (architecture,) = space.decode(space.sample(1))
    drawing = space.draw(architecture)
    assert isinstance(drawing, Drawing)
    drawings = Drawings(legend=space.legend, networks={architecture.text: drawing})
    assert drawing_legend(drawings).count("<li>") == len(OPERATIONS)
