"""MobileNetV3s as drawings: what each block shows, and what is not there."""

from __future__ import annotations

from modnas_fast.report.drawings import Box
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space("small", expansions=(3, 4, 6), depths=(2, 3, 4))


def test_every_block_is_a_piece_and_absent_ones_are_outlines() -> None:
    drawing = SPACE.draw(SPACE.parse("r80_k3.5-7.3.3-3.3-5.7.3.5-3.3.3_e3.4-6.3.4-3.3-6.6.6.6-4.4.4"))
    words = [piece.words for piece in drawing.pieces if piece.words]
    assert words[:5] == [
        "images of 80 pixels",
        "stage 1, block 1: 3×3 kernel, expansion 3",
        "stage 1, block 2: 5×5 kernel, expansion 4",
        "stage 1: no block 3",
        "stage 1: no block 4",
    ]
    assert len(words) == 21 and sum(not piece.live for piece in drawing.pieces) == 6
    assert drawing.words == "Network for images of 80 pixels, with 2, 3, 2, 4, 3 blocks in its stages."


def test_bars_tell_expansions_and_kernels_and_stay_inside() -> None:
    colours = {sample.label: sample.stroke.colour for sample in SPACE.legend}
    for network, kernel in zip(SPACE.ends, ("3×3 kernel; as high as the expansion", "7×7 kernel")):
        drawing = SPACE.draw(network)
        boxes = [box for piece in drawing.pieces if piece.live for box in piece.shapes if isinstance(box, Box)]
        for box in (box for piece in drawing.pieces for box in piece.shapes if isinstance(box, Box)):
            assert box.at[0] >= 0 and box.at[0] + box.size[0] <= drawing.size[0]
            assert box.at[1] >= 0 and box.at[1] + box.size[1] <= drawing.size[1]
        assert {box.colour for box in boxes[1:]} == {colours[kernel]}
        shares = {box.size[1] for box in boxes[1:]}
        assert len(shares) == 1
        assert shares.pop() == {3: 37.0, 6: 74.0}[SPACE.shape(network.indices).expansions[0][0]]
