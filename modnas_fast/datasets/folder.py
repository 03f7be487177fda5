"""Images in folders: one sub-folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from modnas_fast.datasets.images import EXTENSIONS, Encoded
from modnas_fast.datasets.shelf import ALIASES, Library, Shelf, held_out
from modnas_fast.errors import InputError


def read_folder(folder: Path) -> Library:
    """The labelled images below `folder`; classes are its sub-folders' names in sorted order.

    Two layouts: FOLDER/class/…/image, or FOLDER/train/class/… beside FOLDER/test and/or FOLDER/val (also
    valid, validation), which holds when all sub-folders have such names and sub-folders of their own. Images
    are the files with a common image ending; other files are left out with a note, hidden files and folders
    silently. Raises InputError for no sub-folders, for class folders without images (naming them), for a
    single class, and for a class in another part that the training part does not have.
    """
    try:
        parts = _parts(folder)
        train, classes = _shelf(parts["train"], None)
        shelves = {part: _shelf(place, classes)[0] for part, place in parts.items() if part != "train"}
        notes = _ignored(folder)
    except OSError as error:
        raise InputError(f"data: {error.filename or folder} cannot be read: {error.strerror}") from error
    validation, test, more = held_out(shelves)
    return Library(folder.resolve().name, classes, train, validation, test, (*notes, *more))


def _parts(folder: Path) -> dict[str, Path]:
    """Where each part lies; a folder without parts is all training data."""
    children = _subfolders(folder)
    if not children:
        raise InputError(f"data: {folder} has no sub-folders; wanted one per class with the images inside")
    names = [child.name.lower() for child in children]
    divided = all(name in ALIASES and _subfolders(child) for name, child in zip(names, children, strict=True))
    if not divided or "train" not in (ALIASES[name] for name in names):
        return {"train": folder}
    parts: dict[str, Path] = {}
    for name, child in zip(names, children, strict=True):
        if ALIASES[name] in parts:
            raise InputError(f"data: {child} and {parts[ALIASES[name]]} are the same part; keep one of them")
        parts[ALIASES[name]] = child
    return parts


def _shelf(folder: Path, classes: tuple[str, ...] | None) -> tuple[Shelf, tuple[str, ...]]:
    """The images of one part, labelled by `classes`, or by the sub-folders' names where that is None."""
    children = _subfolders(folder)
    found = {child.name: _images(child) for child in children}
    if empty := [name for name, images in found.items() if not images]:
        raise InputError(
            f"data: no images in {len(empty)} of {len(found)} class folders of {folder}: "
            f"{', '.join(empty[:5])}; fill or remove them"
        )
    if classes is None:
        classes = tuple(found)
    if unknown := sorted(set(found) - set(classes)):
        raise InputError(f"data: {folder} has classes that the training part lacks: {', '.join(unknown[:5])}")
    paths = [path for images in found.values() for path in images]
    code = {name: index for index, name in enumerate(classes)}
    labels = [code[name] for name, images in found.items() for _ in images]

    def fetch(indices: Sequence[int]) -> list[Encoded]:
        return [Encoded(str(paths[index]), paths[index]) for index in indices]

    return Shelf(torch.tensor(labels, dtype=torch.int64), fetch), classes


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _visible_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted, without those that are hidden or in a hidden folder."""
    return sorted(
        path for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _images(folder: Path) -> list[Path]:
    return [path for path in _visible_files(folder) if path.suffix.lower() in EXTENSIONS]


def _ignored(folder: Path) -> tuple[str, ...]:
    other = [path for path in _visible_files(folder) if path.suffix.lower() not in EXTENSIONS]
    if not other:
        return ()
    names = ", ".join(str(path.relative_to(folder)) for path in other[:3])
    return (f"{len(other)} files without an image ending were ignored: {names}",)
