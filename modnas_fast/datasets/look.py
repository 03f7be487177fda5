"""A look at images before anything is decoded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from modnas_fast.datasets.header import Header, read_header
from modnas_fast.datasets.load import check_classes, read_library
from modnas_fast.runtime.errors import InputError

#: images whose size is looked at
SAMPLE = 60


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


def usual_side(source: str) -> int | None:
    """Pixels of the shorter side of the most common size among some images; None where none of them can be read."""
    shelf = read_library(Path(source)).train
    count = len(shelf.labels)
    rows = sorted({number * count // SAMPLE for number in range(min(SAMPLE, count))})
    headers = [read_header(item) for item in shelf.fetch(rows)]
    sizes = Counter(header.size for header in headers if isinstance(header, Header))
    return min(sizes.most_common(1)[0][0]) if sizes else None
