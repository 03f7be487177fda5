"""Images in folders: one sub-folder per class, with or without parts around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from modnas_fast.datasets.encoded import Encoded
from modnas_fast.datasets.layout import read_layout
from modnas_fast.datasets.shelf import Library, Shelf, held_out
from modnas_fast.datasets.tree import Tree


def read_folder(tree: Tree) -> Library:
    """The labelled images of a tree, as `modnas_fast.datasets.layout` understands it; classes are sorted by name.

    Raises InputError for a tree that has none of its layouts.
    """
    layout = read_layout(tree)
    classes = tuple(layout.parts["train"])
    shelves = {part: _shelf(images, classes) for part, images in layout.parts.items()}
    train = shelves.pop("train")
    validation, test, more = held_out(shelves)
    return Library(tree.path.resolve().name, classes, train, validation, test, (*layout.notes, *more))


def _shelf(images: dict[str, list[Path]], classes: tuple[str, ...]) -> Shelf:
    """The images of one part, labelled by their class's position in `classes`."""
    code = {name: index for index, name in enumerate(classes)}
    paths = [path for own in images.values() for path in own]
    labels = [code[name] for name, own in images.items() for _ in own]

    def fetch(indices: Sequence[int]) -> Iterator[Encoded]:
        return (Encoded(str(paths[index]), paths[index]) for index in indices)

    return Shelf(torch.tensor(labels, dtype=torch.int64), fetch)
