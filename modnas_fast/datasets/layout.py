"""The layouts of image folders that are understood: which images belong to which part and class.

The names are those of `modnas_fast.datasets.part_names`, the rules those of `read_layout`; docs/images.md has both with
examples. A tree that fits none is refused with a line that names the folder: nothing is left out without a note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from modnas_fast.datasets.part_names import MARKS, NAMELESS, PICTURES, is_unlabelled, part_of, words_of
from modnas_fast.datasets.tree import Tree
from modnas_fast.errors import InputError

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx")  # that may hold labels
LEAST_OTHERS = 2  # class folders beside a folder called test that make it a part and no class


@dataclass
class Layout:
    """The images of each part by class, the classes of `train` in sorted order; `notes` in words."""

    parts: dict[str, dict[str, list[Path]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_layout(root: Tree) -> Layout:
    """Which images of the tree are whose. The rules, in this order:

    1. A folder with images in one sub-folder alone, which has sub-folders itself, is looked through.
    2. Sub-folders for train and another part (or train alone) whose other words agree are parts: `train` needs
       class folders; held-out parts without them, and other folders beside, are left out with a note.
    3. Otherwise the sub-folders are classes, but not if they look like parts (a held-out part without `train`,
       a flat `test` beside two classes or more, parts within the classes) or like images beside their labels.

    Raises InputError with a line that names the folder and what was wanted.
    """
    layout = Layout()
    place = _look_through(root, layout)
    parts = _find_parts(place)
    if parts is None:
        _refuse_lost(place)
        _refuse_marked(place)
        _refuse_parts_as_classes(place)
        layout.parts["train"] = _classes(place, layout)
    else:
        _fill_parts(place, parts, layout)
    _count_left_out(root, layout)
    return layout


def _look_through(folder: Tree, layout: Layout, known: tuple[str, ...] = ()) -> Tree:
    """The folder itself, or the one that archives wrap its content into: photos/photos/train."""
    place = folder
    while len(place.holders) == 1:
        (child,) = place.holders
        own, inner = part_of(place.name), part_of(child.name)
        bare = any(not other.count and not _entries(other) for other in place.folders) or bool(_lost_folders(place))
        if not child.holders or child.name in known or bare or (inner and inner != own):
            break
        _note_loose(place, layout)
        place = child
    if place is not folder:
        layout.notes.append(f"looked through {folder.path} to {place.path.relative_to(folder.path)}, its only folder")
    return place


def _entries(folder: Tree) -> list[Path]:
    return [path for kind in ("images", "others", "parquet", "lost") for path in folder.below(kind)]


def _find_parts(place: Tree) -> dict[str, list[Tree]] | None:
    """The folders of each part where the sub-folders are parts, else None."""
    families: dict[tuple[str, ...], dict[str, list[Tree]]] = {}
    for child in place.holders:
        if found := part_of(child.name):
            families.setdefault(found[1], {}).setdefault(found[0], []).append(child)
    divided = [
        family for rest, family in families.items()
        if "train" in family
        and (len(family) > 1 or len(place.holders) == 1 or (not rest and any(t.holders for t in family["train"])))
    ]
    if len(divided) > 1:
        names = ", ".join(family["train"][0].name for family in divided)
        raise InputError(f"data: {place.path} holds several data sets ({names}); give each a folder and name one")
    if not divided:
        return None
    (family,) = divided
    others = [child for child in place.holders if not any(child in trees for trees in family.values())]
    if len(family) == 1 and (strangers := [tree for tree in others if not is_unlabelled(tree.name)]):
        (train, *_) = family["train"]
        raise InputError(
            f"data: {train.path} has class folders, and beside it lie {_names(strangers)}: part or class? Name the "
            f"part (--data {train.path}), or give the class another name"
        )
    return family


def _fill_parts(place: Tree, parts: dict[str, list[Tree]], layout: Layout) -> None:
    train = _look_through(_only(parts["train"]), layout)
    _refuse_marked(train)
    if not _is_labelled(train, {}):
        _refuse_flat(train, place)
    classes = layout.parts["train"] = _classes(train, layout)
    for part in ("validation", "test"):
        candidates = [_look_through(tree, layout, tuple(classes)) for tree in parts.get(part, [])]
        labelled = [tree for tree in candidates if _is_labelled(tree, classes)]
        layout.notes += [
            f"{tree.count} images in {tree.path} are not used: they have no class folders"
            for tree in candidates if tree not in labelled
        ]
        if labelled:
            layout.parts[part] = _classes(_only(labelled), layout, classes)
    used = [tree for trees in parts.values() for tree in trees]
    for tree in place.folders:
        if tree.count and tree not in used:
            layout.notes.append(f"{tree.count} images in {tree.path} are not used: it is no part like {used[0].name}")
        elif not tree.count and part_of(tree.name):
            layout.notes.append(f"{tree.path} has no images and is not used")
    _note_loose(place, layout)


def _only(trees: list[Tree]) -> Tree:
    if len(trees) > 1:
        raise InputError(f"data: {trees[0].path} and {trees[1].path} are the same part; keep one of them")
    return trees[0]


def _is_labelled(part: Tree, classes: dict[str, list[Path]]) -> bool:
    """Whether a part has class folders; train/images/*.jpg, test/test/*.jpg and test/unknown/*.jpg have none."""
    names = [tree.name for tree in part.holders]
    if len(names) == 1 and names[0] not in classes:
        return not (part_of(names[0]) or set(words_of(names[0])) <= NAMELESS)
    return bool(names)


def _refuse_flat(part: Tree, place: Tree) -> NoReturn:
    raise InputError(
        f"data: {part.path} has {part.count} images but no class folders; wanted {part.name}/CLASS/image or image "
        f"parquet{_tables(part, place)}"
    )


def _tables(*folders: Tree) -> str:
    """Words on a table that may hold the labels."""
    found = [path.name for folder in folders for path in folder.others if path.suffix.lower() in TABLES]
    return f"; labels are not read from {found[0]}" if found else ""


def _refuse_parts_as_classes(place: Tree) -> None:
    """Refuses sub-folders that are parts in all but order; a line says what was wanted."""
    named = [child for child in place.holders if (found := part_of(child.name)) and not found[1]]
    others = [child for child in place.holders if child not in named and not is_unlabelled(child.name)]
    held = [child for child in named if part_of(child.name) != ("train", ())]
    if named and not others:
        if named != held:
            _refuse_flat(next(child for child in named if child not in held), place)
        raise InputError(f"data: {place.path} has {_names(named)} but no train/ beside; wanted train/CLASS/image")
    if labelled := [child for child in held if child.holders]:
        raise InputError(
            f"data: {labelled[0].path} has class folders, and beside it lie {_names(others)}: part or class? Move the "
            "training classes into train/, or give the class another name"
        )
    if held and len(others) >= LEAST_OTHERS:
        raise InputError(
            f"data: {held[0].path} has {held[0].count} images without class folders beside the classes "
            f"{_names(others)}: part or class? Move it away, or give the class another name"
        )
    for child in others:
        inner = {found[0] for tree in child.holders if (found := part_of(tree.name)) and not found[1]}
        if len(inner) > 1:
            raise InputError(
                f"data: {child.path} has parts inside ({_names(child.holders)}); wanted train/{child.name} and so on"
            )


def _classes(folder: Tree, layout: Layout, known: dict[str, list[Path]] | None = None) -> dict[str, list[Path]]:
    """The images of each class of a part; `known` are the training part's, None where it is that part."""
    children = [child for child in folder.folders if not (child.count and is_unlabelled(child.name))]
    if not children:
        raise InputError(
            f"data: {folder.path} has no sub-folders; wanted one per class with the images inside{_tables(folder)}"
            f"{_found(folder)}"
        )
    _refuse_lost(folder)
    for place in (folder, *children):
        _refuse_marked(place)
    if empty := [child for child in children if not child.count]:
        raise InputError(
            f"data: no images in {len(empty)} of {len(children)} class folders of {folder.path}: {_names(empty)}; "
            f"fill or remove them{_found(folder)}"
        )
    if known is None and len(children) == 1:
        raise InputError(
            f"data: {folder.name} has a single class ({children[0].name}); wanted at least two class "
            f"folders{_tables(folder)}"
        )
    if known is not None and (unknown := [child for child in children if child.name not in known]):
        raise InputError(
            f"data: {folder.path} has classes that the training part lacks: {_names(unknown)}; rename or move them"
        )
    _note_classes(folder, children, known, layout)
    return {child.name: child.below("images") for child in children}


def _note_classes(folder: Tree, classes: list[Tree], known: dict[str, list[Path]] | None, layout: Layout) -> None:
    _note_loose(folder, layout)
    inner = {tuple(tree.name for tree in child.holders) for child in classes}
    if known is None and len(inner) == 1 and len(classes[0].holders) > 1:
        layout.notes.append(
            f"{_names(classes)} are taken for classes, not for parts: all have the same folders inside "
            f"({_names(classes[0].holders)})"
        )
    for child in folder.holders:
        if child not in classes:
            layout.notes.append(f"{child.count} images in {child.path} are not used: by its name they have no class")
        elif known is None and (found := part_of(child.name)) and not found[1]:
            layout.notes.append(f"{child.path} is taken for a class, not for a part of the data")


def _note_loose(folder: Tree, layout: Layout) -> None:
    if folder.images:
        layout.notes.append(
            f"{len(folder.images)} images directly in {folder.path} are not used: they lie in no class folder"
        )


def _lost_folders(folder: Tree) -> list[Path]:
    """Links that lead nowhere and whose names look like those of folders."""
    return [path for path in folder.lost if not path.suffix]


def _refuse_lost(folder: Tree) -> None:
    if lost := _lost_folders(folder):
        raise InputError(
            f"data: {lost[0]} is a link that leads nowhere ({_target(lost[0])}) where folders of images lie; fetch its "
            "content or remove it"
        )


def _refuse_marked(folder: Tree) -> None:
    names = {"".join(words_of(child.name)): child.name for child in folder.folders}
    pictures = [name for word, name in names.items() if word in PICTURES]
    marks = [name for word, name in names.items() if word in MARKS]
    if pictures and marks:
        raise InputError(
            f"data: {folder.path} has {pictures[0]}/ beside {marks[0]}/, as in sets for detection or "
            "segmentation; wanted class folders of images alone"
        )


def _count_left_out(root: Tree, layout: Layout) -> None:
    """Notes on all files of the tree that are no visible images."""
    for kind, words in (
        ("others", "files without an image ending were ignored"),
        ("hidden", "images in hidden files or folders, or in left-overs of archives, were ignored"),
        ("lost", "links that lead nowhere were ignored"),
        ("loops", "links to a folder around them were not followed"),
    ):
        if paths := root.below(kind):
            names = ", ".join(str(path.relative_to(root.path)) for path in paths[:3])
            layout.notes.append(f"{len(paths)} {words}: {names}")


def _target(link: Path) -> str:
    return str(link.readlink()) if link.is_symlink() else "not to be reached"


def _found(folder: Tree) -> str:
    """Words on the files that are there where no image is: archives, links, formats that are not read."""
    if folder.count:
        return ""
    paths = [path for kind in ("others", "lost", "loops") for path in folder.below(kind)]
    names = ", ".join(path.name for path in paths[:3])
    return f"; found {len(paths)} other files ({names})" if paths else ""


def _names(trees: list[Tree]) -> str:
    return ", ".join(tree.name for tree in trees[:5]) + (", …" if len(trees) > 5 else "")
