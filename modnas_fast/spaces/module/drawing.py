"""Networks of a module drawn for the report: per choice a bar, as high as its option is beside the largest one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from modnas_fast.report.drawings import Box, Drawing, Label, Piece, Sample, Stroke
from modnas_fast.spaces.architecture import Choice

SIZE = (304.0, 112.0)
ABSENT = "#9aa3ad"
#: by kind of choice, the colour of its bars and what they mean
KINDS = {
    "width": ("#0072b2", "width, of the largest"),
    "depth": ("#d55e00", "layers or blocks, of all"),
    "choice": ("#6b7280", "one of several modules"),
}
#: where bars stand, the highest of them, and where the first begins and the last ends
GROUND, HEIGHT, LEFT, RIGHT = 92.0, 80.0, 4.0, 300.0
#: of a bar's place that it leaves free, how broad it may be, and from where on it has a number
GAP, BROADEST, NUMBERED = 0.2, 40.0, 20.0


def draw_options(
    choices: Sequence[Choice], kinds: Mapping[str, str], options: Sequence[int], absent: Collection[str]
) -> Drawing:
    """The drawing of a network.

    Args:
        choices: of the space.
        kinds: of the choices by name, `width`, `depth` or `choice`.
        options: the index of one of each choice.
        absent: names of the choices of which the network has no layer.
    """
    place = (RIGHT - LEFT) / len(choices)
    broad = min(BROADEST, place * (1 - GAP))
    pieces = []
    for number, (choice, option) in enumerate(zip(choices, options, strict=True)):
        x, text = LEFT + number * place + (place - broad) / 2, choice.options[option]
        outline = Box(at=(x, GROUND - HEIGHT), size=(broad, HEIGHT), colour=ABSENT, filled=False)
        if choice.name in absent:
            pieces.append(Piece(shapes=(outline,), words=f"{choice.name}: no such layer", live=False))
            continue
        low, high = _ends(choice, kinds[choice.name], option)
        colour, _ = KINDS[kinds[choice.name]]
        bar = Box(at=(x, GROUND - HEIGHT * high), size=(broad, HEIGHT * (high - low)), colour=colour)
        label = (Label(at=(x + broad / 2, GROUND + 9), text=text),) if broad >= NUMBERED and text.isdecimal() else ()
        pieces.append(Piece(shapes=(outline, bar, *label), words=_words(choice, kinds[choice.name], text)))
    told = "; ".join(piece.words for piece in pieces)
    return Drawing(size=SIZE, words=f"{told}.", pieces=tuple(pieces))


def legend(kinds: Collection[str]) -> tuple[Sample, ...]:
    """What the bars of these kinds mean."""
    return tuple(
        Sample(label=meaning, stroke=Stroke(colour=colour, width=0))
        for kind, (colour, meaning) in KINDS.items()
        if kind in kinds
    )


def _ends(choice: Choice, kind: str, option: int) -> tuple[float, float]:
    """Where a bar begins and ends, of the highest: sizes stand on the ground, modules have a place each."""
    if kind == "choice":
        return option / len(choice.options), (option + 1) / len(choice.options)
    sizes = [int(text) for text in choice.options]
    return 0.0, sizes[option] / max(1, *sizes)


def _words(choice: Choice, kind: str, text: str) -> str:
    return f"{choice.name}: {text}" if kind == "choice" else f"{choice.name}: {text} of {max(map(int, choice.options))}"
