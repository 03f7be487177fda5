"""The layouts of image folders that are understood: which images belong to which part and class.

The names are those of `modnas_fast.datasets.part_names`, the rules those of `read_layout`; docs/images.md has both with
examples. A tree that fits none is refused with a line that names the folder: nothing is left out without a note.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from modnas_fast.datasets.class_folders import (
    Classes,
    Layout,
    lost_folders,
    names_of,
    note_loose,
    read_classes,
    refuse_lost,
    refuse_marked,
    tables_beside,
)
from modnas_fast.datasets.part_names import NAMELESS, is_unlabelled, part_of, words_of
from modnas_fast.datasets.tree import Tree
from modnas_fast.runtime.errors import InputError

LEAST_OTHERS = 2  # class folders beside a folder called test that make it a part and no class


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
        refuse_lost(place)
        refuse_marked(place)
        _refuse_parts_as_classes(place)
        layout.parts["train"] = read_classes(place, layout)
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
        bare = any(not other.count and not _entries(other) for other in place.folders) or bool(lost_folders(place))
        if not child.holders or child.name in known or bare or (inner and inner != own):
            break
        note_loose(place, layout)
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
        family
        for rest, family in families.items()
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
            f"data: {train.path} has class folders, and beside it lie {names_of(strangers)}: part or class? Name the "
            f"part (--data {train.path}), or give the class another name"
        )
    return family


def _fill_parts(place: Tree, parts: dict[str, list[Tree]], layout: Layout) -> None:
    train = _look_through(_only(parts["train"]), layout)
    refuse_marked(train)
    if not _is_labelled(train, {}):
        _refuse_flat(train, place)
    classes = layout.parts["train"] = read_classes(train, layout)
    for part in ("validation", "test"):
        candidates = [_look_through(tree, layout, tuple(classes)) for tree in parts.get(part, [])]
        labelled = [tree for tree in candidates if _is_labelled(tree, classes)]
        layout.notes += [
            f"{tree.count} images in {tree.path} are not used: they have no class folders"
            for tree in candidates
            if tree not in labelled
        ]
        if labelled:
            layout.parts[part] = read_classes(_only(labelled), layout, classes)
    used = [tree for trees in parts.values() for tree in trees]
    for tree in place.folders:
        if tree.count and tree not in used:
            layout.notes.append(f"{tree.count} images in {tree.path} are not used: it is no part like {used[0].name}")
        elif not tree.count and part_of(tree.name):
            layout.notes.append(f"{tree.path} has no images and is not used")
    note_loose(place, layout)


def _only(trees: list[Tree]) -> Tree:
    if len(trees) > 1:
        raise InputError(f"data: {trees[0].path} and {trees[1].path} are the same part; keep one of them")
    return trees[0]


def _is_labelled(part: Tree, classes: Classes) -> bool:
    """Whether a part has class folders; train/images/*.jpg, test/test/*.jpg and test/unknown/*.jpg have none."""
    names = [tree.name for tree in part.holders]
    if len(names) == 1 and names[0] not in classes:
        return not (part_of(names[0]) or set(words_of(names[0])) <= NAMELESS)
    return bool(names)


def _refuse_flat(part: Tree, place: Tree) -> NoReturn:
    raise InputError(
        f"data: {part.path} has {part.count} images but no class folders; wanted {part.name}/CLASS/image or image "
        f"parquet{tables_beside(part, place)}"
    )


def _refuse_parts_as_classes(place: Tree) -> None:
    """Refuses sub-folders that are parts in all but order; a line says what was wanted."""
    named = [child for child in place.holders if (found := part_of(child.name)) and not found[1]]
    others = [child for child in place.holders if child not in named and not is_unlabelled(child.name)]
    held = [child for child in named if part_of(child.name) != ("train", ())]
    if named and not others:
        if named != held:
            _refuse_flat(next(child for child in named if child not in held), place)
        raise InputError(f"data: {place.path} has {names_of(named)} but no train/ beside; wanted train/CLASS/image")
    if labelled := [child for child in held if child.holders]:
        raise InputError(
            f"data: {labelled[0].path} has class folders, and beside it lie {names_of(others)}: part or class? Move "
            "the training classes into train/, or give the class another name"
        )
    if held and len(others) >= LEAST_OTHERS:
        raise InputError(
            f"data: {held[0].path} has {held[0].count} images without class folders beside the classes "
            f"{names_of(others)}: part or class? Move it away, or give the class another name"
        )
    for child in others:
        inner = {found[0] for tree in child.holders if (found := part_of(tree.name)) and not found[1]}
        if len(inner) > 1:
            raise InputError(
                f"data: {child.path} has parts inside ({names_of(child.holders)}); wanted train/{child.name} and so on"
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
