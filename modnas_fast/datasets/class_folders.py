"""The class folders of a part: what they hold, what beside them is left out, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modnas_fast.datasets.part_names import MARKS, PICTURES, is_unlabelled, part_of, words_of
from modnas_fast.datasets.tree import Tree
from modnas_fast.runtime.errors import InputError

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx")  # that may hold labels

Classes = dict[str, list[Path]]


@dataclass
class Layout:
    """The images of each part by class, the classes of `train` in sorted order; `notes` in words."""

    parts: dict[str, Classes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_classes(folder: Tree, layout: Layout, known: Classes | None = None) -> Classes:
    """The images of each class of a part; `known` are the training part's, None where it is that part."""
    children = [child for child in folder.folders if not (child.count and is_unlabelled(child.name))]
    if not children:
        raise InputError(
            f"data: {folder.path} has no sub-folders; wanted one per class with the images inside"
            f"{tables_beside(folder)}{_found(folder)}"
        )
    refuse_lost(folder)
    for place in (folder, *children):
        refuse_marked(place)
    if empty := [child for child in children if not child.count]:
        raise InputError(
            f"data: no images in {len(empty)} of {len(children)} class folders of {folder.path}: {names_of(empty)}; "
            f"fill or remove them{_found(folder)}"
        )
    if known is None and len(children) == 1:
        raise InputError(
            f"data: {folder.name} has a single class ({children[0].name}); wanted at least two class "
            f"folders{tables_beside(folder)}"
        )
    if known is not None and (unknown := [child for child in children if child.name not in known]):
        raise InputError(
            f"data: {folder.path} has classes that the training part lacks: {names_of(unknown)}; rename or move them"
        )
    _note_classes(folder, children, known, layout)
    return {child.name: child.below("images") for child in children}


def _note_classes(folder: Tree, classes: list[Tree], known: Classes | None, layout: Layout) -> None:
    note_loose(folder, layout)
    inner = {tuple(tree.name for tree in child.holders) for child in classes}
    if known is None and len(inner) == 1 and len(classes[0].holders) > 1:
        layout.notes.append(
            f"{names_of(classes)} are taken for classes, not for parts: all have the same folders inside "
            f"({names_of(classes[0].holders)})"
        )
    for child in folder.holders:
        if child not in classes:
            layout.notes.append(f"{child.count} images in {child.path} are not used: by its name they have no class")
        elif known is None and (found := part_of(child.name)) and not found[1]:
            layout.notes.append(f"{child.path} is taken for a class, not for a part of the data")


def note_loose(folder: Tree, layout: Layout) -> None:
    """Notes images that lie beside the sub-folders."""
    if folder.images:
        layout.notes.append(
            f"{len(folder.images)} images directly in {folder.path} are not used: they lie in no class folder"
        )


def lost_folders(folder: Tree) -> list[Path]:
    """Links that lead nowhere and whose names look like those of folders."""
    return [path for path in folder.lost if not path.suffix]


def refuse_lost(folder: Tree) -> None:
    """Raises InputError where a sub-folder is a link that leads nowhere."""
    if lost := lost_folders(folder):
        raise InputError(
            f"data: {lost[0]} is a link that leads nowhere ({_target(lost[0])}) where folders of images lie; fetch its "
            "content or remove it"
        )


def refuse_marked(folder: Tree) -> None:
    """Raises InputError where sub-folders are images and what is marked in them."""
    names = {"".join(words_of(child.name)): child.name for child in folder.folders}
    pictures = [name for word, name in names.items() if word in PICTURES]
    marks = [name for word, name in names.items() if word in MARKS]
    if pictures and marks:
        raise InputError(
            f"data: {folder.path} has {pictures[0]}/ beside {marks[0]}/, as in sets for detection or "
            "segmentation; wanted class folders of images alone"
        )


def tables_beside(*folders: Tree) -> str:
    """Words on a table that may hold the labels."""
    found = [path.name for folder in folders for path in folder.others if path.suffix.lower() in TABLES]
    return f"; labels are not read from {found[0]}" if found else ""


def _target(link: Path) -> str:
    return str(link.readlink()) if link.is_symlink() else "not to be reached"


def _found(folder: Tree) -> str:
    """Words on the files that are there where no image is: archives, links, formats that are not read."""
    if folder.count:
        return ""
    paths = [path for kind in ("others", "lost", "loops") for path in folder.below(kind)]
    names = ", ".join(path.name for path in paths[:3])
    return f"; found {len(paths)} other files ({names})" if paths else ""


def names_of(trees: list[Tree]) -> str:
    """The names of the first few folders."""
    return ", ".join(tree.name for tree in trees[:5]) + (", …" if len(trees) > 5 else "")
