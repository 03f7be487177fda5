"""A categorical decision of a search space, and one network of it: plain data."""

from __future__ import annotations

from dataclasses import dataclass


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
