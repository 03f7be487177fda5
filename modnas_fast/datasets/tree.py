"""What lies below a folder of images: one walk that follows links and loses nothing without a count."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from modnas_fast.datasets.encoded import EXTENSIONS
from modnas_fast.runtime.errors import InputError

PARQUET = ".parquet"
#: folders and files that systems and archivers leave behind; like hidden ones they are not data
LEFT_OVERS = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
    | {"thumbs.db", "desktop.ini"}
)


@dataclass(eq=False)
class Tree:
    """A folder: its sub-folders and, lying directly in it, images and other files, sorted by name.

    `images` and `parquet` have dangling links with such an ending too: they are files that cannot be read. `lost` are
    the other dangling links, `loops` links to a folder that they lie in, `hidden` the images in hidden files and
    folders and in left-overs of archives.
    """

    path: Path
    folders: list[Tree] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    parquet: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    lost: list[Path] = field(default_factory=list)
    loops: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    @cached_property
    def count(self) -> int:
        """How many images lie in and below the folder."""
        return len(self.images) + sum(folder.count for folder in self.folders)

    @cached_property
    def holders(self) -> list[Tree]:
        """The sub-folders that hold images."""
        return [folder for folder in self.folders if folder.count]

    def below(self, kind: str) -> list[Path]:
        """All paths of one kind, such as "images", in and below the folder, in order."""
        return sorted(path for tree in self.walk() for path in getattr(tree, kind))

    def walk(self) -> Iterator[Tree]:
        """The folder and all folders below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()


def grow(folder: Path) -> Tree:
    """The tree below `folder`. Links are followed, but not to a folder that they lie in.

    Raises InputError for a folder that cannot be read, unless it is hidden or a left-over.
    """
    return _grow(folder, ())


def _grow(folder: Path, above: tuple[tuple[int, int], ...]) -> Tree:
    tree = Tree(folder)
    try:
        own = _identity(os.stat(folder))
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        raise InputError(f"data: {folder} cannot be read: {error.strerror}; give permission or remove it") from None
    for name in names:
        _sort_in(tree, folder / name, (*above, own))
    return tree


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _sort_in(tree: Tree, path: Path, above: tuple[tuple[int, int], ...]) -> None:
    """Puts one entry of a folder where it belongs."""
    ending = path.suffix.lower()
    if path.name.startswith(".") or path.name.lower() in LEFT_OVERS:
        tree.hidden += _hidden_images(path)
        return
    try:
        status = os.stat(path)
    except OSError:  # a link that leads nowhere or round in circles, or a folder that may be listed alone
        (tree.images if ending in EXTENSIONS else tree.parquet if ending == PARQUET else tree.lost).append(path)
        return
    if stat.S_ISDIR(status.st_mode):
        if _identity(status) in above:
            tree.loops.append(path)
        else:
            tree.folders.append(_grow(path, above))
    elif ending in EXTENSIONS and stat.S_ISREG(status.st_mode):
        tree.images.append(path)
    elif ending == PARQUET and stat.S_ISREG(status.st_mode):
        tree.parquet.append(path)
    else:
        tree.others.append(path)


def _hidden_images(path: Path) -> list[Path]:
    """The images in what is left out; `._` files hold no pixels but macOS's attributes of another file."""
    if path.is_symlink() or not path.is_dir():
        files = [path]
    else:
        files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    return sorted(file for file in files if file.suffix.lower() in EXTENSIONS and not file.name.startswith("._"))
