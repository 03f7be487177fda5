"""Encoder-decoders as drawings: what each layer shows, and what is not there."""

from __future__ import annotations

from modnas_fast.report.drawings import Box
from modnas_fast.spaces.hat.space import HATSpace

SPACE = HATSpace("small")


def test_every_layer_is_a_piece_and_absent_ones_are_outlines() -> None:
    network = SPACE.parse("e96_f64.128.256_h2.4.4_d128_f128.64_h4.2_x2.4_r3.1")
    drawing = SPACE.draw(network)
    words = [piece.words for piece in drawing.pieces if piece.words]
    assert words == [
        "encoder of width 96",
        "decoder of width 128",
        "encoder layer 1: 2 heads, feed-forward part of 64 channels",
        "encoder layer 2: 4 heads, feed-forward part of 128 channels",
        "encoder layer 3: 4 heads, feed-forward part of 256 channels",
        "decoder layer 1: 4 heads, 2 to the last 3 of the encoder, feed-forward part of 128 channels",
        "decoder layer 2: 2 heads, 4 to the last 1 of the encoder, feed-forward part of 64 channels",
        "no decoder layer 3",
    ]
    assert [piece.words for piece in drawing.pieces if not piece.live] == ["no decoder layer 3"]
    assert drawing.words == "Encoder of width 96 with 3 layers, decoder of width 128 with 2 layers."


def test_bars_are_as_high_as_their_share_and_stay_inside() -> None:
    largest, smallest = (SPACE.draw(network) for network in reversed(SPACE.ends))
    for drawing in (largest, smallest):
        boxes = [shape for piece in drawing.pieces for shape in piece.shapes if isinstance(shape, Box)]
        for box in boxes:
            assert box.at[0] >= 0 and box.at[0] + box.size[0] <= drawing.size[0]
            assert box.at[1] >= 0 and box.at[1] + box.size[1] <= drawing.size[1]
    heights = [
        {box.size[1] for piece in drawing.pieces if piece.live for box in piece.shapes if isinstance(box, Box)}
        for drawing in (largest, smallest)
    ]
    assert len(heights[0]) == 1 and max(heights[1]) <= max(heights[0]) / 2
