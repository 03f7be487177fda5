"""GPTs drawn for the report: per layer a bar for its attention and one for its MLP, as high as they have channels."""

from __future__ import annotations

from modnas_fast.report.drawings import Box, Drawing, Label, Piece, Sample, Stroke
from modnas_fast.spaces.gpt.network import Shape
from modnas_fast.spaces.gpt.scales import Scale

SIZE = (304.0, 112.0)
WIDTH, HEADS, HIDDEN, ABSENT = "#6b7280", "#0072b2", "#d55e00", "#9aa3ad"
#: where bars stand, and the highest of them
GROUND, HEIGHT = 92.0, 72.0
#: where the layers begin and end, and the bar of the width before them
LEFT, RIGHT, FIRST = 52.0, 300.0, (8.0, 24.0)
#: where it is told whether linear layers have a bias
BIAS = (22.0, 9.0)
#: of a layer's place that its bars leave free, and the width from which on bars have numbers
GAP, NUMBERED = 0.2, 13.0


def draw_gpt(shape: Shape, scale: Scale) -> Drawing:
    """The drawing of a network beside the largest of its scale."""
    place = (RIGHT - LEFT) / scale.layers
    bar = place * (1 - GAP) / 2
    heads, hidden = scale.heads[-1], scale.ratios[-1] * scale.widths[-1]
    bias = Label(at=BIAS, text="bias" if shape.bias else "no bias")
    pieces = [_width(shape.width, scale.widths[-1]), Piece(shapes=(bias,))]
    for layer in range(scale.layers):
        x = LEFT + layer * place + place * GAP / 2
        if layer >= len(shape.ratios):
            outline = Box(at=(x, GROUND - HEIGHT), size=(2 * bar, HEIGHT), colour=ABSENT, filled=False)
            pieces.append(Piece(shapes=(outline,), words=f"no layer {layer + 1}", live=False))
            continue
        count, ratio = shape.heads[layer], shape.ratios[layer]
        attention = _bar(x, bar, count / heads, HEADS, str(count))
        mlp = _bar(x + bar, bar, ratio * shape.width / hidden, HIDDEN, f"×{ratio}")
        words = f"layer {layer + 1}: {count} heads, MLP of {ratio} × {shape.width} channels"
        pieces.append(Piece(shapes=(*attention, *mlp), words=words))
    return Drawing(size=SIZE, words=describe(shape), pieces=tuple(pieces))


def legend() -> tuple[Sample, ...]:
    """What the bars mean."""
    return (
        Sample(label="width of the embedding", stroke=Stroke(colour=WIDTH, width=0)),
        Sample(label="attention heads of a layer", stroke=Stroke(colour=HEADS, width=0)),
        Sample(label="channels of its MLP, × the width", stroke=Stroke(colour=HIDDEN, width=0)),
    )


def describe(shape: Shape) -> str:
    """A sentence that says what the drawing shows.

    >>> describe(Shape(64, (2, 4), (4, 6), False))
    'GPT of width 64, 2 layers without bias; heads 4, 6; MLP ratios 2, 4.'
    """
    heads, ratios = (", ".join(map(str, each)) for each in (shape.heads, shape.ratios))
    layers = f"{len(shape.ratios)} layer{'s' if len(shape.ratios) > 1 else ''}"
    return f"GPT of width {shape.width}, {layers} {'with' if shape.bias else 'without'} bias; heads {heads}; " + (
        f"MLP ratios {ratios}."
    )


def _width(width: int, largest: int) -> Piece:
    x, broad = FIRST
    return Piece(shapes=_bar(x, broad, width / largest, WIDTH, f"e{width}"), words=f"embedding of width {width}")


def _bar(x: float, broad: float, share: float, colour: str, text: str) -> tuple[Box | Label, ...]:
    box = Box(at=(x, GROUND - HEIGHT * share), size=(broad, HEIGHT * share), colour=colour)
    if broad < NUMBERED:
        return (box,)
    return box, Label(at=(x + broad / 2, GROUND + 9), text=text)
