"""What a reader of files finds before any image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from modnas_fast.datasets.encoded import Encoded


@dataclass(frozen=True)
class Shelf:
    """Labels int64 [n] of 0..K−1, and `fetch(indices in rising order)` for the images at those rows, one by one."""

    labels: Tensor
    fetch: Callable[[Sequence[int]], Iterable[Encoded]]


@dataclass(frozen=True)
class Library:
    """The parts that a source has: `train` always, the others where it divides its images itself."""

    name: str
    classes: tuple[str, ...]
    train: Shelf
    validation: Shelf | None = None
    test: Shelf | None = None
    notes: tuple[str, ...] = ()


def held_out(parts: dict[str, Shelf]) -> tuple[Shelf | None, Shelf | None, tuple[str, ...]]:
    """The (validation, test) of a source, with a note where its only held-out part becomes the test."""
    validation, test = parts.get("validation"), parts.get("test")
    if validation is not None and test is None:
        return None, validation, ("the validation part is used as the test part: there is no other",)
    return validation, test, ()
