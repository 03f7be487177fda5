"""MobileNetV3s drawn for the report: a bar per block, as high as its expansion and of its kernel's colour."""

from __future__ import annotations

from modnas_fast.report.drawings import Box, Drawing, Label, Piece, Sample, Stroke
from modnas_fast.spaces.mobilenetv3.scales import Scale, Shape

SIZE = (304.0, 122.0)
RESOLUTION, ABSENT = "#6b7280", "#9aa3ad"
#: by the place of a kernel among the options; of more the last is taken again
KERNELS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00")
#: where bars stand, the highest of them, and where stages are named
GROUND, HEIGHT, NAMES = 94.0, 74.0, 9.0
#: where the bar of the resolution and the stages begin, and where these end
BAR, FIRST, LAST = 6.0, 30.0, 300.0
#: of a stage's place, and of a block's, what stays free; and the width from which on bars have numbers
STAGE_GAP, GAP, NUMBERED = 0.12, 0.12, 8.0


def draw_mobilenetv3(shape: Shape, scale: Scale) -> Drawing:
    """The drawing of a network beside the largest of its scale."""
    pieces = [_resolution(shape.resolution, scale)]
    place = (LAST - FIRST) / len(scale.stages)
    sides = scale.sides(shape.resolution)
    for stage, (kernels, expansions) in enumerate(zip(shape.kernels, shape.expansions)):
        begin, broad = FIRST + place * (stage + STAGE_GAP / 2), place * (1 - STAGE_GAP)
        name = f"{sides[stage + 1]}²"
        pieces.append(Piece(shapes=(Label(at=(begin + broad / 2, NAMES), text=name),)))
        for layer in range(scale.layers):
            if layer < len(kernels):
                pieces.append(_block(stage, layer, kernels[layer], expansions[layer], begin, broad, scale))
            else:
                pieces.append(_absent(stage, layer, begin, broad, scale))
    return Drawing(size=SIZE, words=describe(shape), pieces=tuple(pieces))


def legend(scale: Scale) -> tuple[Sample, ...]:
    """What the bars mean."""
    return (
        Sample(label="resolution; above: what each stage gives", stroke=Stroke(colour=RESOLUTION, width=0)),
        *(
            Sample(
                label=f"{kernel}×{kernel} kernel" + ("; as high as the expansion" if place == 0 else ""),
                stroke=Stroke(colour=_colour(kernel, scale), width=0),
            )
            for place, kernel in enumerate(scale.kernels)
        ),
    )


def describe(shape: Shape) -> str:
    """A sentence that says what the drawing shows.

    >>> describe(Shape(96, ((3, 5), (7, 3)), ((3, 4), (6, 3))))
    'Network for images of 96 pixels, with 2, 2 blocks in its stages.'
    """
    depths = ", ".join(str(len(stage)) for stage in shape.kernels)
    return f"Network for images of {shape.resolution} pixels, with {depths} blocks in its stages."


def _resolution(side: int, scale: Scale) -> Piece:
    height = HEIGHT * side / scale.resolutions[-1]
    bar = Box(at=(BAR, GROUND - height), size=(FIRST - 2 * BAR, height), colour=RESOLUTION)
    number = Label(at=(BAR + (FIRST - 2 * BAR) / 2, GROUND + 9), text=str(side))
    return Piece(shapes=(bar, number), words=f"images of {side} pixels")


def _place(layer: int, begin: float, broad: float, scale: Scale) -> tuple[float, float]:
    """Where a block's bar begins, and how broad it is."""
    each = broad / scale.layers
    return begin + each * (layer + GAP / 2), each * (1 - GAP)


def _block(stage: int, layer: int, kernel: int, expansion: int, begin: float, broad: float, scale: Scale) -> Piece:
    left, width = _place(layer, begin, broad, scale)
    height = HEIGHT * expansion / scale.expansions[-1]
    shapes: list[Box | Label] = [Box(at=(left, GROUND - height), size=(width, height), colour=_colour(kernel, scale))]
    if width >= NUMBERED:
        shapes.append(Label(at=(left + width / 2, GROUND + 9), text=str(kernel)))
    words = f"stage {stage + 1}, block {layer + 1}: {kernel}×{kernel} kernel, expansion {expansion}"
    return Piece(shapes=tuple(shapes), words=words)


def _absent(stage: int, layer: int, begin: float, broad: float, scale: Scale) -> Piece:
    left, width = _place(layer, begin, broad, scale)
    outline = Box(at=(left, GROUND - HEIGHT), size=(width, HEIGHT), colour=ABSENT, filled=False)
    return Piece(shapes=(outline,), words=f"stage {stage + 1}: no block {layer + 1}", live=False)


def _colour(kernel: int, scale: Scale) -> str:
    return KERNELS[min(scale.kernels.index(kernel), len(KERNELS) - 1)]
