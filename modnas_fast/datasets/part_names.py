"""The names of folders and files that mean something: parts of a data set, images without a class, labels."""

from __future__ import annotations

import re

#: words for the parts of a data set, in any letter case
PARTS = {
    "train": ("train", "training", "trainval", "trn", "tr"),
    "validation": ("validation", "validate", "valid", "val", "vali", "dev", "devel", "development"),
    "test": ("test", "testing", "tests", "tst", "eval", "evaluation", "holdout", "heldout"),
}
#: words that say nothing when they stand beside one of those: train_set, TestImages, val-split, train-0-of-2
FILLERS = frozenset(
    [
        "set",
        "sets",
        "data",
        "dataset",
        "datasets",
        "image",
        "images",
        "img",
        "imgs",
        "photo",
        "photos",
        "picture",
        "pictures",
        "pic",
        "pics",
        "split",
        "splits",
        "subset",
        "part",
        "folder",
        "folders",
        "dir",
        "files",
        "of",
    ]
)
#: folders of images that have no class, wherever they lie beside class folders or parts
UNLABELLED = frozenset(
    ["unlabelled", "unlabeled", "unlabel", "unsup", "unsupervised", "unannotated", "nolabel", "nolabels"]
)
#: folders that a part without classes puts its images into
NAMELESS = UNLABELLED | FILLERS | {"unknown", "all", "pred", "predict"}
#: a folder of the first kind beside one of the second is a set for detection or segmentation
PICTURES = frozenset(["image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "photo", "photos"])
MARKS = frozenset(
    [
        "label",
        "labels",
        "annotation",
        "annotations",
        "mask",
        "masks",
        "bbox",
        "bboxes",
        "box",
        "boxes",
        "gt",
        "groundtruth",
        "segmentation",
        "xmls",
        "ann",
        "anns",
        "segmentationclass",
        "segmentationobject",
    ]
)

_PART_OF = {word: part for part, words in PARTS.items() for word in words}


def part_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The part that a name stands for, and its other words; None where it has no word for a part, or several.

    >>> part_of("Training"), part_of("TestSet"), part_of("seg_train"), part_of("cat")
    (('train', ()), ('test', ()), ('train', ('seg',)), None)
    """
    words = words_of(name)
    if "".join(words) in _PART_OF:
        return _PART_OF["".join(words)], ()
    named = [part for word in words if (part := _part_of_word(word))]
    if len(named) != 1:
        return None
    return named[0], tuple(word for word in words if word not in FILLERS and not _part_of_word(word))


def words_of(name: str) -> list[str]:
    """The words of a name in small letters: TrainSet, train_set and train-set-2 have the same two."""
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())


def _part_of_word(word: str) -> str | None:
    """The part of `train`, and of `trainset`."""
    stems = (word.removesuffix(filler) for filler in ("", *FILLERS))
    return next((_PART_OF[stem] for stem in stems if stem in _PART_OF), None)


def is_unlabelled(name: str) -> bool:
    """Whether a name says that the images have no class: unlabelled, unlabeled_images."""
    words = words_of(name)
    return "".join(words) in UNLABELLED or bool(UNLABELLED & set(words) and set(words) <= UNLABELLED | FILLERS)
