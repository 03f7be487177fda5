"""What the pages of runs and reproductions prepare alike, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from modnas_fast.report.checked import Machine
from modnas_fast.report.marks import mean

Facts = Sequence[tuple[str, str]]
"""Terms and their values; one without a value is not shown."""


class Tile(NamedTuple):
    """A key figure in a box of its own; with the tone "warn" or "alarm" it stands out, and advice says what to do."""

    title: str
    value: str
    detail: str
    kind: str = ""
    tone: str = ""
    advice: str = ""


class Place(NamedTuple):
    """Where an interactive figure stands; a shared one follows the buttons that hide devices or methods."""

    name: str
    title: str
    caption: str = ""
    shared: bool = False


class Cell(NamedTuple):
    """A text of a table, "good", "bad" or "best" where it is one of these, and what stands small below it."""

    text: str
    tone: str = ""
    below: str = ""


class Group(NamedTuple):
    """Rows of a table under a title of their own; the first cell of a row names it."""

    rows: Sequence[Sequence[Cell]]
    title: str = ""
    kind: str = ""


class Table(NamedTuple):
    """A table under its caption."""

    caption: str
    head: Sequence[str]
    groups: Sequence[Group]
    kind: str = "sticky"


def cells(*texts: str) -> list[Cell]:
    """Plain cells of these texts."""
    return [Cell(text) for text in texts]


def machine_words(machine: Machine) -> str:
    """The machine in one line."""
    cores = f"{machine.cores} cores" if machine.cores is not None else ""
    return ", ".join(text for text in (machine.cpu or "", cores, *map(str, machine.gpus)) if text)


def software_words(package: dict[str, Any], machine: Machine) -> str:
    """The versions that made the run, in one line."""
    ours = " ".join(str(package[key]) for key in ("name", "version") if key in package)
    torch = f"torch {machine.torch}" if machine.torch else ""
    return ", ".join(text for text in (ours, torch) if text)


def averages(items: Iterable[object], *fields: str) -> dict[str, float | None]:
    """The mean of each field over the items that have it."""
    every = list(items)
    return {field: mean(getattr(item, field) for item in every) for field in fields}
