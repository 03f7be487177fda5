"""GPTs drawn as bars: what is as high as it should be, and what is said of it."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from modnas_fast.report.drawings import Box, Drawings
from modnas_fast.report.rendering import draw_network, drawing_legend
from modnas_fast.spaces.gpt.drawing import GROUND, HEADS, HEIGHT, HIDDEN, SIZE, WIDTH
from modnas_fast.spaces.gpt.space import GPTSpace

SPACE = GPTSpace("small")


def heights(text: str) -> dict[str, list[float]]:
    """Of the bars of each colour, from left to right; the highest is 1."""
    drawing = SPACE.draw(SPACE.parse(text))
    boxes = [shape for piece in drawing.pieces if piece.live for shape in piece.shapes if isinstance(shape, Box)]
    assert all(abs(box.at[1] + box.size[1] - GROUND) < 1e-9 for box in boxes), "bars stand on the ground"
    found: dict[str, list[float]] = {}
    for box in sorted(boxes, key=lambda box: box.at[0]):
        found.setdefault(box.colour, []).append(round(box.size[1] / HEIGHT, 9))
    return found


def test_bars_are_as_high_as_a_layer_has_channels() -> None:
    found = heights("e96_l2_m2.4_h2.6_bias")
    assert found == {WIDTH: [1.0], HEADS: [round(2 / 6, 9), 1.0], HIDDEN: [0.5, 1.0]}
    found = heights("e32_l3_m2.3.4_h4.4.2_nobias")
    assert found[WIDTH] == [round(32 / 96, 9)] and found[HEADS] == [round(h / 6, 9) for h in (4, 4, 2)]
    assert found[HIDDEN] == [round(r * 32 / (4 * 96), 9) for r in (2, 3, 4)]


def test_absent_layers_are_faint_and_everything_has_words() -> None:
    text = "e64_l2_m2.4_h4.6_nobias"
    drawing = SPACE.draw(SPACE.parse(text))
    assert [piece.words for piece in drawing.pieces if not piece.live] == ["no layer 3", "no layer 4"]
    assert drawing.words == "GPT of width 64, 2 layers without bias; heads 4, 6; MLP ratios 2, 4."
    root = ElementTree.fromstring(draw_network(Drawings(networks={text: drawing}), text))
    assert {"layer 2: 6 heads, MLP of 4 × 64 channels", "embedding of width 64"} <= {t.text for t in root.iter("title")}
    assert {"4", "×2", "6", "×4", "e64", "no bias"} == {t.text for t in root.iter("text")}
    assert drawing_legend(Drawings(legend=SPACE.legend, networks={text: drawing})).count("<li>") == 3


def test_everything_is_inside_at_every_scale() -> None:
    for scale in ("small", "s", "m", "l"):
        space = GPTSpace(scale)
        for text in space.references:
            boxes = [s for piece in space.draw(space.parse(text)).pieces for s in piece.shapes if isinstance(s, Box)]
            assert all(b.at[0] >= 0 and b.at[0] + b.size[0] <= SIZE[0] and b.at[1] >= 0 for b in boxes)
            ends = sorted((box.at[0], box.at[0] + box.size[0]) for box in boxes)
            assert all(second[0] >= first[1] - 1e-9 for first, second in pairwise(ends)), "no bar hides another"
