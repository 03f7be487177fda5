"""Networks of a module drawn as bars: how high they are, and what is said of them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from modnas_fast import elastic
from modnas_fast.report.drawings import Box, Drawings
from modnas_fast.report.rendering import draw_network, drawing_legend
from modnas_fast.spaces.module.drawing import GROUND, HEIGHT, KINDS, SIZE


def perceptron() -> nn.Module:
    hidden, deep = elastic.width("hidden", 8, 16), elastic.width("deep", 4, 8)
    blocks = (
        nn.Sequential(elastic.Linear(hidden, hidden)),
        nn.Sequential(elastic.Linear(hidden, deep), elastic.Linear(deep, hidden)),
    )
    return nn.Sequential(
        elastic.Linear(4, hidden),
        elastic.Sequential(*blocks, name="blocks", depth=(1, 2)),
        elastic.Choice("act", relu=nn.ReLU(), gelu=nn.GELU()),
        elastic.Linear(hidden, 3),
    )


SPACE = elastic.ModuleSpace(perceptron)


def bars(text: str) -> dict[str, tuple[str, float, float]]:
    """By what is said of a choice that is there: its bar's colour, and where it begins and ends above the ground."""
    found = {}
    for piece in SPACE.draw(SPACE.parse(text)).pieces:
        for box in piece.shapes:
            if isinstance(box, Box) and box.filled:
                low, high = GROUND - box.at[1] - box.size[1], GROUND - box.at[1]
                found[piece.words] = box.colour, round(low / HEIGHT, 9), round(high / HEIGHT, 9)
    return found


def test_bars_are_as_high_as_the_option_beside_the_largest() -> None:
    width, depth, choice = (colour for colour, _ in KINDS.values())
    assert bars("hidden=8,blocks=2,deep=8,act=gelu") == {
        "hidden: 8 of 16": (width, 0, 0.5),
        "blocks: 2 of 2": (depth, 0, 1),
        "deep: 8 of 8": (width, 0, 1),
        "act: gelu": (choice, 0.5, 1),
    }


def test_choices_without_a_layer_are_faint() -> None:
    text = "hidden=16,blocks=1,deep=4,act=relu"
    drawing = SPACE.draw(SPACE.parse(text))
    assert [piece.words for piece in drawing.pieces if not piece.live] == ["deep: no such layer"]
    assert drawing.words == "hidden: 16 of 16; blocks: 1 of 2; deep: no such layer; act: relu."
    root = ElementTree.fromstring(draw_network(Drawings(networks={text: drawing}), text))
    assert {element.text for element in root.iter("text")} == {"16", "1"}
    assert drawing_legend(Drawings(legend=SPACE.legend, networks={text: drawing})).count("<li>") == 3


@pytest.mark.parametrize("layers", [1, 90])
def test_everything_is_inside_however_many_choices_there_are(layers: int) -> None:
    widths = [elastic.width(f"w{k}", 2, 4) for k in range(layers)]
    linear = [elastic.Linear(first, second) for first, second in zip([3, *widths], [*widths, 2])]
    space = elastic.ModuleSpace(nn.Sequential(*linear))
    assert space.build(space.ends[0])(torch.ones(1, 3)).shape == (1, 2)
    boxes = [box for piece in space.draw(space.ends[1]).pieces for box in piece.shapes if isinstance(box, Box)]
    assert len(boxes) == 2 * layers
    assert all(box.at[0] >= 0 and box.at[0] + box.size[0] <= SIZE[0] and box.at[1] >= 0 for box in boxes)
    assert all(first.at[0] + first.size[0] <= second.at[0] for first, second in zip(boxes[::2], boxes[2::2]))
