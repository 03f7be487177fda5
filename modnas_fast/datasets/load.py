"""load_task: from the name of a source to an ImageTask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from modnas_fast.datasets.digits import load_digits
from modnas_fast.datasets.encoded import Encoded
from modnas_fast.datasets.folder import read_folder
from modnas_fast.datasets.images import Progress, decode, resize_images
from modnas_fast.datasets.parquet import read_parquet, read_shards
from modnas_fast.datasets.shelf import Library, Shelf
from modnas_fast.datasets.splits import stratified_split, stratified_subset
from modnas_fast.datasets.task import ImageTask, Split, make_task
from modnas_fast.datasets.tree import grow
from modnas_fast.runtime.errors import InputError

MIN_PER_CLASS = 8
FRACTIONS = (0.5, 0.25, 0.25)


def load_task(
    source: str | Path,
    *,
    seed: int,
    limit: int | None = None,
    test_limit: int | None = None,
    resize: int | None = None,
    square: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
    progress: Progress | None = None,
) -> ImageTask:
    """The image task at `source`: "digits" (embedded), a folder of class folders, or image parquet.

    A path named digits is written "./digits" or given as a Path. `seed` fixes every choice. `limit` ≥ 3 per
    class takes a stratified subset of the training pool, `test_limit` of each held-out part that the source
    has, and only images so chosen are decoded. `resize` ≥ 4 is the side of all images in pixels; without it
    images larger than 64 pixels are scaled down to that, or with `square` all become squares of at most that
    side. `fractions` of (train, validation, test) divide the
    pool, class by class; where the source has parts of its own those are kept and the rest is divided in the
    ratio of the other fractions. `progress(done, total)` counts decoded images.

    The classes need at least 8 images each before `limit`. Mixed sizes and modes, and single unreadable
    images are made to fit as `modnas_fast.datasets.images.decode` says, with notes on the task. Raises
    InputError for all that cannot be used: a path that does not exist, one class, too few images, bad labels,
    bad options.

    >>> task = load_task("digits", seed=0)
    >>> len(task.train), len(task.validation), len(task.test), task.image_shape
    (899, 451, 447, (1, 8, 8))
    """
    _check_options(limit, test_limit, resize, fractions)
    generator = torch.Generator().manual_seed(seed)
    if source == "digits":
        return _digits(limit, resize, fractions, generator)
    library = read_library(Path(source))
    check_classes(library)
    choice = _choose(library, limit, test_limit, generator)
    decoded = decode(choice, resize=resize, square=square, progress=progress)
    whole = Split(decoded.images, choice.labels[decoded.kept])
    rows = choice.part_rows(decoded.kept)
    _check_left(whole.labels, rows, library.classes)
    train, validation, test = _divide(whole, rows, fractions, generator)
    notes = (*library.notes, *decoded.notes)
    return make_task(library.name, library.classes, train=train, validation=validation, test=test, notes=notes)


def _check_options(limit: int | None, test_limit: int | None, resize: int | None, fractions: Sequence[float]) -> None:
    for name, value, least in (("limit", limit, 1), ("test_limit", test_limit, 1), ("resize", resize, 4)):
        if value is not None and value < least:
            raise InputError(f"{name}: wanted at least {least}, got {value}")
    if len(fractions) != 3 or not all(0 <= f <= 1 for f in fractions) or not min(fractions[:2]) > 0:
        raise InputError(
            "fractions: wanted three numbers in [0, 1] for train, validation and test, the first two above "
            f"0, got {tuple(fractions)}"
        )


def _digits(limit: int | None, resize: int | None, fractions: Sequence[float], generator: torch.Generator) -> ImageTask:
    pool, classes = load_digits()
    if limit is not None and limit < len(pool):
        pool = pool.take(_subset(pool.labels, limit, classes, generator))
    notes: tuple[str, ...] = ()
    if resize is not None and resize != pool.images.shape[-1]:
        pool = Split(resize_images(pool.images, resize), pool.labels)
        notes = (f"{len(pool)} of {len(pool)} images resized to {resize}×{resize}",)
    train, validation, test = _divide(pool, {"train": torch.arange(len(pool))}, fractions, generator)
    return make_task("digits", classes, train=train, validation=validation, test=test, flip=False, notes=notes)


def read_library(path: Path) -> Library:
    """What lies at `path`, with its labels; no image is decoded. Raises InputError where that is no set of images."""
    if not path.exists():
        raise InputError(f'data: {path} does not exist; wanted "digits", a folder, or a parquet file')
    if path.is_dir():
        tree = grow(path)
        return read_shards(tree) if tree.below("parquet") else read_folder(tree)
    if path.suffix.lower() != ".parquet":
        raise InputError(f"data: {path} is neither a folder nor a .parquet file")
    return read_parquet(path)


def check_classes(library: Library) -> None:
    """Raises InputError where a held-out part is empty, or classes are fewer than two or too small."""
    for part in ("validation", "test"):
        shelf = _part(library, part)
        if shelf is not None and len(shelf.labels) == 0:
            raise InputError(f"data: the {part} part of {library.name} has no images; fill or remove it")
    if len(library.classes) < 2:
        only = library.classes[0] if library.classes else "none"
        raise InputError(f"data: {library.name} has a single class ({only}); wanted at least two")
    counts = torch.bincount(library.train.labels, minlength=len(library.classes)).tolist()
    for name, count in zip(library.classes, counts, strict=True):
        if count < MIN_PER_CLASS:
            raise InputError(
                f"data: class {name} of {library.name} has {count} images; wanted at least {MIN_PER_CLASS}"
            )


@dataclass(frozen=True)
class _Choice:
    """The wanted images of all parts, one after the other: decoded as one, so that they agree in size and mode.

    `rows` are those of each part's shelf.
    """

    library: Library
    rows: dict[str, Tensor]

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    def __iter__(self) -> Iterator[Encoded]:
        for part, rows in self.rows.items():
            yield from getattr(self.library, part).fetch(rows.tolist())

    @property
    def labels(self) -> Tensor:
        """int64 [n], of all chosen images."""
        return torch.cat([getattr(self.library, part).labels[rows] for part, rows in self.rows.items()])

    def part_rows(self, kept: Tensor) -> dict[str, Tensor]:
        """Which of the `kept` images belong to each part: positions in `kept`."""
        belongs = torch.cat([torch.full((len(rows),), i) for i, rows in enumerate(self.rows.values())])[kept]
        return {part: (belongs == i).nonzero().flatten() for i, part in enumerate(self.rows)}


def _part(library: Library, part: str) -> Shelf | None:
    return getattr(library, part)


def _choose(library: Library, limit: int | None, test_limit: int | None, generator: torch.Generator) -> _Choice:
    rows = {}
    for part, most in (("train", limit), ("validation", test_limit), ("test", test_limit)):
        shelf = _part(library, part)
        if shelf is None:
            continue
        if most is None or most >= len(shelf.labels):
            rows[part] = torch.arange(len(shelf.labels))
        elif part == "train":
            rows[part] = _subset(shelf.labels, most, library.classes, generator)
        else:
            rows[part] = stratified_subset(shelf.labels, most, generator, least=0)
    return _Choice(library, rows)


def _subset(labels: Tensor, limit: int, classes: tuple[str, ...], generator: torch.Generator) -> Tensor:
    if limit < 3 * len(classes):
        raise InputError(f"limit: wanted at least 3 images for each of {len(classes)} classes, got {limit}")
    return stratified_subset(labels, limit, generator, least=3)


def _check_left(labels: Tensor, rows: dict[str, Tensor], classes: tuple[str, ...]) -> None:
    """Refuses what unreadable images have emptied."""
    for part, own in rows.items():
        if len(own) == 0:
            raise InputError(f"data: no image of the {part} part can be read; replace them")
    counts = torch.bincount(labels[rows["train"]], minlength=len(classes)).tolist()
    for name, count in zip(classes, counts, strict=True):
        if count < 3:
            raise InputError(f"data: class {name} has {count} readable images; wanted at least 3")


def _divide(
    whole: Split, rows: dict[str, Tensor], fractions: Sequence[float], generator: torch.Generator
) -> tuple[Split, Split, Split]:
    """Train, validation, test: the source's own parts where it has them, others from its training pool.

    `rows` are those of each part in `whole`. Every image is copied once.
    """
    names = ("train", "validation", "test")
    own = [name != "train" and name in rows for name in names]
    wanted = [0.0 if kept else fraction for kept, fraction in zip(own, fractions, strict=True)]
    if "test" not in rows and wanted[2] == 0:
        raise InputError("fractions: the data has no test part of its own, so the third must be above 0")
    pool = rows["train"]
    pieces = stratified_split(whole.labels[pool], wanted, generator)
    train, validation, test = (
        whole.take(rows[name] if kept else pool[piece]) for name, kept, piece in zip(names, own, pieces, strict=True)
    )
    return train, validation, test
