"""Small pieces of HTML. What is named `html` or `rows` is markup already; all else is escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Protocol, TypeVar

from modnas_fast.report.marks import (
    MEASURED_COLOUR,
    METHOD_SYMBOLS,
    RANDOM_COLOUR,
    device_colour,
    method_colour,
    significant,
)
from modnas_fast.report.run.contents import Machine

SPLITS = {"search": "search devices", "unseen": "unseen devices (zero-shot)"}


_SHAPES = {
    "circle": "M14 2A4 4 0 0 1 14 10A4 4 0 0 1 14 2Z",
    "square": "M10 2H18V10H10Z",
    "diamond": "M14 1L19 6L14 11L9 6Z",
    "triangle-up": "M14 1L19 10H9Z",
    "x": "M10 3.5L11.5 2L14 4.5L16.5 2L18 3.5L15.5 6L18 8.5L16.5 10L14 7.5L11.5 10L10 8.5L12.5 6Z",
    "triangle-down": "M14 11L9 2H19Z",
    "star": "M14 .5L15.4 4.2H19.3L16.2 6.6L17.3 10.5L14 8.2L10.7 10.5L11.8 6.6L8.7 4.2H12.6Z",
    "pentagon": "M14 1L18.8 4.5L17 10.5H11L9.2 4.5Z",
}
"""The symbols of methods in a box of 28 by 12."""


class Shown(Protocol):
    """A device as every part of a page shows it."""

    @property
    def name(self) -> str:
        """Its name, as its file has it."""

    @property
    def split(self) -> str:
        """Either "search" or "unseen"."""


_D = TypeVar("_D", bound=Shown)


def of_split(devices: Sequence[_D], split: str) -> list[tuple[int, _D]]:
    """The devices of one split, each with its place among all."""
    return [(index, device) for index, device in enumerate(devices) if device.split == split]


def span(bounds: tuple[float, float] | None) -> str:
    """Two numbers as a range, to three significant digits."""
    return "–" if bounds is None else f"{significant(bounds[0])} to {significant(bounds[1])}"


def machine_words(machine: Machine) -> str:
    """The machine in one line."""
    cores = f"{machine.cores} cores" if machine.cores is not None else ""
    return ", ".join(text for text in (machine.cpu or "", cores, *map(str, machine.gpus)) if text)


def software_words(package: dict[str, Any], machine: Machine) -> str:
    """The versions that made the run, in one line."""
    ours = " ".join(str(package[key]) for key in ("name", "version") if key in package)
    torch = f"torch {machine.torch}" if machine.torch else ""
    return ", ".join(text for text in (ours, torch) if text)


def duration(seconds: float) -> str:
    """A time span in words.

    >>> duration(8.25), duration(252.0), duration(7322)
    ('8.2 s', '4 min 12 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tile(title: str, value: str, detail: str, kind: str = "") -> str:
    """A key figure in a box of its own."""
    return (
        f'<div class="tile {kind}"><span class="what">{escape(title)}</span>'
        f'<span class="value">{escape(value)}</span><span class="detail">{escape(detail)}</span></div>'
    )


def section(anchor: str, title: str, html: str, lead: str = "") -> str:
    """A titled part of the page."""
    intro = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{intro}{html}</section>'


def note(text: str) -> str:
    """A paragraph that says why something is not shown."""
    return f'<p class="note">{escape(text)}</p>'


def plot(name: str, title: str, caption: str = "", shared: bool = False) -> str:
    """The place of an interactive figure; a shared one follows the buttons that hide devices."""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><h3>{escape(title)}</h3><div class="plot" role="img" aria-label="{escape(title)}" '
        f'data-figure="{name}"{" data-shared" * shared}></div>{text}</figure>'
    )


def table(head: Sequence[str], rows: str, caption: str, text_columns: int = 1, kind: str = "") -> str:
    """A table in a frame that scrolls sideways; columns after the first `text_columns` hold numbers."""
    cells = "".join(
        f'<th scope="col"{"" if i < text_columns else " class=num"}>{escape(text)}</th>' for i, text in enumerate(head)
    )
    body = rows if "<tbody" in rows else f"<tbody>{rows}</tbody>"
    return (
        f'<p class="caption" aria-hidden="true">{escape(caption)}</p>'
        f'<div class="frame {kind}" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f'<caption class="sr">{escape(caption)}</caption><thead><tr>{cells}</tr></thead>{body}</table></div>'
    )


def row(cells: Iterable[str], text_columns: int = 1, kind: str = "") -> str:
    """A table row of markup; its first cell names the row."""
    first, *rest = cells
    inner = f'<th scope="row">{first}</th>' + "".join(
        f"<td>{cell}</td>" if i < text_columns else f'<td class="num">{cell}</td>' for i, cell in enumerate(rest, 1)
    )
    return f'<tr class="{kind}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of terms and their values, both plain text."""
    items = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(value)}</dd></div>" for term, value in pairs)
    return f'<dl class="facts">{items}</dl>'


def code(architecture: str) -> str:
    """An architecture's text, which may break after each node and each operation."""
    return f"<code>{re.sub(r'(?<=[+])|(?<=[0-9][|])(?=[a-z])', '<wbr>', escape(architecture))}</code>"


def foldable(name: str) -> str:
    """A name that may break after each underscore."""
    return escape(name).replace("_", "_<wbr>")


def badge(split: str) -> str:
    """A small mark that says whether a device took part in the search."""
    return f'<span class="badge {split}">{split}</span>'


def line_sample(index: int, split: str) -> str:
    """The stroke of a device in every figure: its colour, dashed where it is unseen."""
    dash = ' stroke-dasharray="5 3"' if split == "unseen" else ""
    path = f'<path d="M1 6H27" stroke="{device_colour(index)}" stroke-width="3.5"{dash}/>'
    return f'<svg class="stroke" viewBox="0 0 28 12" aria-hidden="true">{path}</svg>'


def device_name(index: int, device: Shown, link: bool = False) -> str:
    """A device's stroke and name; as a link it leads to the device's own part of the page."""
    name = f'<span class="name">{foldable(device.name)}</span>'
    inner = line_sample(index, device.split) + name
    if link:
        return f'<a class="device" href="#device-{index}">{inner}</a>'
    return f'<span class="device">{inner}</span>'


def method_name(index: int, label: str) -> str:
    """A method's symbol, as the figures show it, and its label."""
    shape = _SHAPES[METHOD_SYMBOLS[index % len(METHOD_SYMBOLS)][0]]
    stroke = f'stroke="{method_colour(index)}" stroke-width="2"'
    mark = _symbol(f'<path d="M1 6H27" {stroke}/><path d="{shape}" fill="{method_colour(index)}"/>')
    return f'<span class="device">{mark}<span class="name">{escape(label)}</span></span>'


def device_buttons(devices: Sequence[tuple[int, Shown]]) -> str:
    """The legend of the shared figures: a button per device that shows or hides it; none for one device."""
    entries = [(index, device.name, device_name(index, device)) for index, device in devices]
    return buttons(entries, "Devices shown in the figures below")


def buttons(entries: Sequence[tuple[int, str, str]], label: str) -> str:
    """Buttons that show or hide the traces of an index: (index, title, html) each; none for one entry."""
    if len(entries) < 2:
        return ""
    chips = "".join(
        f'<button type="button" class="chip" data-shows="{index}" aria-pressed="true" '
        f'title="{escape(title)}">{html}</button>'
        for index, title, html in entries
    )
    whole = '<button type="button" class="chip all" data-shows="all">show all</button>'
    return f'<div class="chips" role="group" aria-label="{escape(label)}">{whole}{chips}</div>'


def front_key(index: int, objective: str, source: str) -> str:
    """What the marks of a device's front figure mean."""
    colour = device_colour(index)
    front = f'<path d="M1 3H12V9H26" fill="none" stroke="{colour}" stroke-width="2"/>'
    cross = f'<path d="M10 3L18 9M18 3L10 9" stroke="{RANDOM_COLOUR}" stroke-width="1.8"/>'
    rim = f'fill="none" stroke="{MEASURED_COLOUR}" stroke-width="1.8"'
    diamond = f'<path d="M14 1.5L18.5 6L14 10.5L9.5 6Z" {rim}/>'
    scale = '<span class="scale" aria-hidden="true"></span>'
    items = [
        f"<li>{_symbol(front)}front, {source}</li>",
        f"<li>{scale}ray, coloured by the weight of {escape(objective)}, 0 to 1</li>",
        f"<li>{_symbol(cross)}random search</li>",
    ]
    if source == "predicted":
        items.append(f"<li>{_symbol(diamond)}trained and measured, tied to its prediction</li>")
    return f'<ul class="key">{"".join(items)}</ul>'


def _symbol(html: str) -> str:
    return f'<svg class="stroke" viewBox="0 0 28 12" aria-hidden="true">{html}</svg>'
