"""The frame of a self-contained page: style, scripts, data and Plotly in one text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from modnas_fast.runtime.errors import InputError


def document_html(
    *,
    brand: str,
    title: str,
    header: str,
    links: Mapping[str, str],
    main: str,
    figures: Mapping[str, Any],
    scripts: Sequence[str],
) -> str:
    """The whole page.

    `brand` says what kind of page it is, `links` maps anchors to words for the bar, `figures` maps the names
    of places in `main` to Plotly's plain JSON, and `scripts` are resources beside this module that draw
    them. `header` and `main` are markup; all else is escaped here.
    """
    from plotly.offline import get_plotlyjs

    bar = "".join(f'<a href="#{anchor}">{escape(words)}</a>' for anchor, words in links.items())
    return Template(_resource("page.html")).substitute(
        brand=escape(brand),
        title=escape(title),
        style=_resource("page.css"),
        header=header,
        nav=bar,
        main=main,
        data=safe_json({"figures": figures}),
        plotly=get_plotlyjs(),
        script="\n".join(_resource(name) for name in scripts),
    )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns an operating system's refusal to write to `folder` into an InputError with the remedy."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): make room or make it writable") from error


def safe_json(value: Any) -> str:
    r"""JSON that can stand inside a script element: no text in it can end the element or open a comment.

    >>> safe_json({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return (files("modnas_fast.report") / name).read_text(encoding="utf-8")
