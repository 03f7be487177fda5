"""A categorical decision of a search space, and one network of it: plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modnas_fast.runtime.errors import InputError


@dataclass(frozen=True)
class Choice:
    """One categorical decision: its name and its options in order."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """One network of a space: the index of the chosen option per choice, and its canonical string."""

    indices: tuple[int, ...]
    text: str

    def __str__(self) -> str:
        return self.text


def place_of(value: int, options: Sequence[int], what: str, where: str) -> int:
    """Index of an option that stands in a string. Raises InputError, which says `what` it is and `where`, for others.

    >>> place_of(96, (64, 96), "width", "'e96_l2'")
    1
    """
    if value not in options:
        raise InputError(f"architecture: {what} {value} in {where}; wanted one of {', '.join(map(str, options))}")
    return options.index(value)
