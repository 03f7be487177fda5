"""Architectures as drawings: plain shapes that a space makes of a network and the report paints; y goes down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from modnas_fast.report.checked import Part, read_part
from modnas_fast.runtime.files import write_text

DRAWINGS_FILE = "drawings.json"
Place = tuple[float, float]


class Stroke(Part):
    """How a line looks. Width and dash tell lines apart where colour cannot."""

    colour: str
    width: float = 2.0
    dash: tuple[float, ...] = ()


class Curve(Part):
    """A quadratic curve from a start by its control point to an end."""

    kind: Literal["curve"] = "curve"
    points: tuple[Place, Place, Place]
    stroke: Stroke


class Polygon(Part):
    """A filled polygon."""

    kind: Literal["polygon"] = "polygon"
    points: tuple[Place, ...] = Field(min_length=3)
    colour: str


class Circle(Part):
    """A circle in ink, filled or not."""

    kind: Literal["circle"] = "circle"
    at: Place
    radius: float
    filled: bool = False


class Box(Part):
    """A rectangle by its upper left corner: filled with a colour, or an outline in it."""

    kind: Literal["box"] = "box"
    at: Place
    size: Place
    colour: str
    filled: bool = True


class Label(Part):
    """Text around its middle: in ink, on a white box, or in white."""

    kind: Literal["label"] = "label"
    at: Place
    text: str
    look: Literal["plain", "boxed", "light"] = "plain"


Shape = Annotated[Curve | Polygon | Circle | Box | Label, Field(discriminator="kind")]


class Piece(Part):
    """Shapes that belong together, with what they are in words, and whether they have an effect."""

    shapes: tuple[Shape, ...]
    words: str = ""
    live: bool = True


class Drawing(Part):
    """A network: width and height, a sentence that says what is shown, and its pieces from behind to the front."""

    size: Place
    words: str
    pieces: tuple[Piece, ...]


class Sample(Part):
    """A line of the legend: a stroke, or a filled box where it has no width; faint where it has no effect."""

    label: str
    stroke: Stroke
    faint: bool = False


class Drawings(Part):
    """`drawings.json` of a run: the networks of its fronts and those verified, by architecture."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    legend: tuple[Sample, ...] = ()
    networks: dict[str, Drawing] = {}


def write_drawings(run: Path, drawings: Drawings) -> None:
    """Leaves drawings in the folder of a run."""
    write_text(run / DRAWINGS_FILE, drawings.model_dump_json(by_alias=True))


def read_drawings(run: Path) -> Drawings | None:
    """The drawings of a run; None where it has none. Raises InputError for a damaged file."""
    return read_part(run / DRAWINGS_FILE, Drawings, "search")
