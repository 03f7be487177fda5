"""Pages from templates: autoescaped, strict about missing names, self-contained, with filters for numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from modnas_fast.report import marks
from modnas_fast.report.described import describe
from modnas_fast.report.drawings import Drawings
from modnas_fast.report.own_style import own_style
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_text

FORMATS = ("capital", "count", "duration", "mean_sd", "number", "percent", "signed", "span")


def render(template: str, figures: Mapping[str, Any], scripts: Sequence[str], **prepared: Any) -> str:
    """The whole page in one text: markup, style, scripts and data.

    `figures` maps the names of places in the template to Plotly's plain JSON, `scripts` are resources beside
    this module that draw them, and `prepared` is what the template shows.
    """
    from plotly.offline import get_plotlyjs

    return (
        environment()
        .get_template(template)
        .render(figures=figures, scripts=scripts, plotly=Markup(get_plotlyjs()), **prepared)
    )


@cache
def environment() -> Environment:
    """The templates of both pages, whose texts are escaped unless they are markup already."""
    made = Environment(
        loader=PackageLoader("modnas_fast.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The filter also keeps a text from ending the script element that the data stands in.
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.filters |= {name: getattr(marks, name) for name in FORMATS} | {"foldable": foldable, "breakable": breakable}
    made.globals |= {
        "resource": _resource,
        "draw_network": draw_network,
        "drawing_legend": drawing_legend,
        "colour": marks.colour,
        "describe": describe,
        "method_symbol": marks.method_symbol,
        "RANDOM_COLOUR": marks.RANDOM_COLOUR,
        "SPLITS": marks.SPLITS,
        "SOURCES": marks.SOURCES,
        "CORNER_COLOURS": marks.CORNER_COLOURS,
        "FURTHER_COLOUR": marks.FURTHER_COLOUR,
        "MEASURED_COLOUR": marks.MEASURED_COLOUR,
    }
    return made


def draw_network(drawings: Drawings | None, architecture: str) -> str:
    """HTML of one architecture: its drawing as an inline SVG with titles and labels, or its text in a box."""
    drawing = drawings.networks.get(architecture) if drawings else None
    return _macro("drawing.html", "network")(drawing, architecture)


def drawing_legend(drawings: Drawings | None) -> str:
    """HTML that explains the strokes of the drawings; nothing without drawings."""
    return _macro("drawing.html", "legend")(drawings.legend) if drawings and drawings.networks else ""


def foldable(name: str) -> Markup:
    """A name that may break after each underscore."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def breakable(architecture: str) -> Markup:
    """An architecture's text, which may break after each node and each operation."""
    return Markup(re.sub(r"(?<=[+])|(?<=[0-9][|])(?=[a-z])", "<wbr>", str(escape(architecture))))


def write_page(path: Path, page: Callable[[], str], plots: Callable[[Path], object] | None) -> Path:
    """The path of a page, written by rename after the PNG files that `plots` writes to the folder beside it, if given.

    Raises InputError with the remedy where the operating system refuses to write.
    """
    try:
        if plots is not None:
            with own_style():
                plots(path.parent / "plots")
        write_text(path, page())
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror}): make room or make it writable"
        ) from error
    return path


def _macro(template: str, name: str) -> Any:
    return getattr(environment().get_template(template).module, name)


def _resource(name: str) -> Markup:
    return Markup((files("modnas_fast.report") / name).read_text(encoding="utf-8"))
