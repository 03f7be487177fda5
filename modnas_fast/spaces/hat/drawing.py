"""Encoder-decoders drawn for the report: per layer bars for its attention and its feed-forward part, and its reach."""

from __future__ import annotations

from modnas_fast.report.drawings import Box, Drawing, Label, Piece, Sample, Stroke
from modnas_fast.spaces.hat.network import Shape
from modnas_fast.spaces.hat.scales import Scale

SIZE = (304.0, 122.0)
WIDTH, HEADS, CROSS, FFN, ABSENT = "#6b7280", "#0072b2", "#009e73", "#d55e00", "#9aa3ad"
#: where bars stand, and the highest of them
GROUND, HEIGHT = 94.0, 74.0
#: where the sides are named
NAMES = 9.0
#: where encoder and decoder begin and end; each has the bar of its width first
SIDES = ((4.0, 136.0), (150.0, 300.0))
#: bars' places of a layer: heads, of the decoder those of the other attention, and the feed-forward part
BARS = (2, 3)
#: of a layer's place that its bars leave free, the share of a side that its width takes, and the width from which on
#: bars have numbers
GAP, FIRST, NUMBERED = 0.2, 0.14, 13.0


def draw_hat(shape: Shape, scale: Scale) -> Drawing:
    """The drawing of a network beside the largest of its scale."""
    pieces = [
        *_side(0, "encoder", shape.encoder_width / scale.encoder_widths[-1], f"{shape.encoder_width}"),
        *_side(1, "decoder", shape.decoder_width / scale.decoder_widths[-1], f"{shape.decoder_width}"),
    ]
    for layer in range(scale.encoder_layers):
        if layer >= len(shape.encoder_ffns):
            pieces.append(_absent(0, layer, scale.encoder_layers))
            continue
        heads, ffn = shape.encoder_heads[layer], shape.encoder_ffns[layer]
        bars = ((heads / scale.encoder_heads[-1], HEADS, str(heads)), (ffn / scale.encoder_ffns[-1], FFN, ""))
        words = f"encoder layer {layer + 1}: {heads} heads, feed-forward part of {ffn} channels"
        pieces.append(_layer(0, layer, scale.encoder_layers, bars, words))
    for layer in range(scale.decoder_layers):
        if layer >= len(shape.decoder_ffns):
            pieces.append(_absent(1, layer, scale.decoder_layers))
            continue
        heads, cross = shape.decoder_heads[layer], shape.cross_heads[layer]
        ffn, reach = shape.decoder_ffns[layer], shape.reaches[layer]
        decoder_bars = (
            (heads / scale.decoder_heads[-1], HEADS, ""),
            (cross / scale.cross_heads[-1], CROSS, f"r{reach}"),
            (ffn / scale.decoder_ffns[-1], FFN, ""),
        )
        words = (
            f"decoder layer {layer + 1}: {heads} heads, {cross} to the last {reach} of the encoder, feed-forward part "
            f"of {ffn} channels"
        )
        pieces.append(_layer(1, layer, scale.decoder_layers, decoder_bars, words))
    return Drawing(size=SIZE, words=describe(shape), pieces=tuple(pieces))


def legend() -> tuple[Sample, ...]:
    """What the bars mean."""
    return (
        Sample(label="width", stroke=Stroke(colour=WIDTH, width=0)),
        Sample(label="attention heads of a layer", stroke=Stroke(colour=HEADS, width=0)),
        Sample(label="heads to the encoder; r: how many of its layers", stroke=Stroke(colour=CROSS, width=0)),
        Sample(label="channels of the feed-forward part", stroke=Stroke(colour=FFN, width=0)),
    )


def describe(shape: Shape) -> str:
    """A sentence that says what the drawing shows.

    >>> describe(Shape(96, (64, 128), (2, 4), 64, (128,), (4,), (2,), (2,)))
    'Encoder of width 96 with 2 layers, decoder of width 64 with 1 layer.'
    """

    def layers(count: int) -> str:
        return f"{count} layer{'s' if count > 1 else ''}"

    return (
        f"Encoder of width {shape.encoder_width} with {layers(len(shape.encoder_ffns))}, decoder of width "
        f"{shape.decoder_width} with {layers(len(shape.decoder_ffns))}."
    )


def _side(side: int, name: str, share: float, width: str) -> list[Piece]:
    """Its name, and the bar of its width."""
    begin, end = SIDES[side]
    broad = (end - begin) * FIRST * (1 - GAP)
    bar = Box(at=(begin, GROUND - HEIGHT * share), size=(broad, HEIGHT * share), colour=WIDTH)
    number = Label(at=(begin + broad / 2, GROUND + 9), text=width)
    named = Piece(shapes=(Label(at=((begin + end) / 2, NAMES), text=name),))
    return [named, Piece(shapes=(bar, number), words=f"{name} of width {width}")]


def _place(side: int, layer: int, layers: int) -> tuple[float, float]:
    """Where a layer's bars begin, and how broad they are together."""
    begin, end = SIDES[side]
    first = begin + (end - begin) * FIRST
    place = (end - first) / layers
    return first + layer * place + place * GAP / 2, place * (1 - GAP)


def _layer(side: int, layer: int, layers: int, bars: tuple[tuple[float, str, str], ...], words: str) -> Piece:
    x, broad = _place(side, layer, layers)
    each = broad / BARS[side]
    shapes: list[Box | Label] = []
    for number, (share, colour, text) in enumerate(bars):
        left = x + number * each
        shapes.append(Box(at=(left, GROUND - HEIGHT * share), size=(each, HEIGHT * share), colour=colour))
        if text and broad >= NUMBERED:
            shapes.append(Label(at=(left + each / 2, GROUND + 9), text=text))
    return Piece(shapes=tuple(shapes), words=words)


def _absent(side: int, layer: int, layers: int) -> Piece:
    x, broad = _place(side, layer, layers)
    outline = Box(at=(x, GROUND - HEIGHT), size=(broad, HEIGHT), colour=ABSENT, filled=False)
    name = "decoder" if side else "encoder"
    return Piece(shapes=(outline,), words=f"no {name} layer {layer + 1}", live=False)
