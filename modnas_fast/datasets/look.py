"""A look at images before anything is decoded."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.datasets.load import check_classes, read_library
from modnas_fast.runtime.errors import InputError


def named(source: str | None) -> str:
    """The source of images. Raises InputError where it is None: images of one's own are wanted and none are named."""
    if source is None:
        raise InputError(
            "--data: these settings want images of your own: give --data FOLDER with one sub-folder per class, or "
            "image parquet; --data digits takes the embedded digits"
        )
    return source


def look_at(source: str | None) -> None:
    """Refuses images whose place, folders or columns show already that they cannot be used: raises InputError."""
    if named(source) != "digits":
        check_classes(read_library(Path(named(source))))
