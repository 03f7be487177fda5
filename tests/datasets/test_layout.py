"""The table of layouts as a whole: many trees, each with what a person sees in it or the line that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import encoded, fill, picture

from modnas_fast.datasets import load_task
from modnas_fast.datasets.layout import read_layout
from modnas_fast.datasets.part_names import part_of
from modnas_fast.datasets.tree import grow
from modnas_fast.runtime.errors import InputError

IMAGE = encoded(picture(0))


def plant(root: Path, tree: dict[str, int | str]) -> Path:
    """Makes folders with as many images, and files with the text, that `tree` tells by path."""
    root.mkdir()
    for place, content in tree.items():
        if isinstance(content, str):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(content)
            continue
        (root / place).mkdir(parents=True, exist_ok=True)
        for index in range(content):
            (root / place / f"{index:03}.png").write_bytes(IMAGE)
    return root


def seen(root: Path) -> tuple[dict[str, dict[str, int]], list[str]]:
    layout = read_layout(grow(root))
    counts = {part: {name: len(paths) for name, paths in own.items()} for part, own in layout.parts.items()}
    return counts, [note.replace(f"{root}", "ROOT") for note in layout.notes]


TWO = {"cat": 3, "dog": 2}


@pytest.mark.parametrize(
    ("tree", "parts", "notes"),
    [
        # class folders
        ({"cat": 3, "dog": 2}, {"train": TWO}, []),
        ({"cat/home": 2, "cat/zoo": 1, "dog": 2}, {"train": TWO}, []),
        ({"0": 3, "1": 2}, {"train": {"0": 3, "1": 2}}, []),
        ({"cat": 3, "dog": 2, ".": 4}, {"train": TWO}, ["4 images directly in ROOT are not used"]),
        ({"cat": 3, "dog": 2, "unlabeled": 5}, {"train": TWO}, ["5 images in ROOT/unlabeled are not used"]),
        ({"cat": 3, "dog": 2, "Unlabelled_Images": 5}, {"train": TWO}, ["5 images in ROOT/Unlabelled_Images"]),
        # parts under all their names
        *(
            ({f"{train}/cat": 3, f"{train}/dog": 2, f"{held}/cat": 1, f"{held}/dog": 1},
             {"train": TWO, part: {"cat": 1, "dog": 1}}, [])
            for train, held, part in [
                ("train", "test", "test"), ("Training", "Testing", "test"), ("TRAIN", "VAL", "validation"),
                ("tr", "dev", "validation"), ("train_set", "test_set", "test"), ("TrainSet", "TestSet", "test"),
                ("training_data", "validation_data", "validation"), ("train-images", "tests", "test"),
                ("train2017", "val2017", "validation"), ("my-train", "my-eval", "test"),
                ("seg_train", "seg_test", "test"), ("01_train", "02_hold_out", "test"), ("trn", "devel", "validation"),
                ("trainset", "valid", "validation"), ("train", "evaluation", "test"), ("train.v2", "tst.v2", "test"),
            ]
        ),
        ({"train/cat": 3, "train/dog": 2}, {"train": TWO}, []),
        ({"train/cat": 3, "train/dog": 2, "val/cat": 1, "test/dog": 1},
         {"train": TWO, "validation": {"cat": 1}, "test": {"dog": 1}}, []),
        ({"train/train": 3, "train/plane": 2, "test/train": 1},
         {"train": {"plane": 2, "train": 3}, "test": {"train": 1}}, ["ROOT/train/train is taken for a class"]),
        # held-out parts without classes, other folders, loose images
        ({"train/cat": 3, "train/dog": 2, "test": 7}, {"train": TWO}, ["7 images in ROOT/test are not used"]),
        ({"train/cat": 3, "train/dog": 2, "val": 7}, {"train": TWO}, ["7 images in ROOT/val are not used"]),
        ({"train/cat": 3, "train/dog": 2, "Testing/images": 7}, {"train": TWO}, ["7 images in ROOT/Testing are"]),
        ({"train/cat": 3, "train/dog": 2, "test/test": 7}, {"train": TWO}, ["7 images in ROOT/test are not used"]),
        ({"train/cat": 3, "train/dog": 2, "test/unknown": 7}, {"train": TWO}, ["7 images in ROOT/test are not used"]),
        ({"train/cat": 3, "train/dog": 2, "test/cat": 1, "test": 7}, {"train": TWO, "test": {"cat": 1}},
         ["7 images directly in ROOT/test are not used"]),
        ({"train/cat": 3, "train/dog": 2, "train": 4}, {"train": TWO}, ["4 images directly in ROOT/train are"]),
        ({"train/cat": 3, "train/dog": 2, "unsup": 4}, {"train": TWO}, ["4 images in ROOT/unsup are not used"]),
        ({"train/cat": 3, "train/dog": 2, "train/unlabelled": 4}, {"train": TWO},
         ["4 images in ROOT/train/unlabelled are not used"]),
        ({"train/cat": 3, "train/dog": 2, "test/cat": 1, "extra": 9, ".": 1}, {"train": TWO, "test": {"cat": 1}},
         ["9 images in ROOT/extra are not used", "1 images directly in ROOT are not used"]),
        ({"Training/cat": 3, "Training/dog": 2, "Test/cat": 1, "test-multiple_pets": 6},
         {"train": TWO, "test": {"cat": 1}}, ["6 images in ROOT/test-multiple_pets are not used"]),
        ({"train/cat": 3, "train/dog": 2, "test": 0}, {"train": TWO}, ["ROOT/test has no images and is not used"]),
        # wrappers
        ({"pets/cat": 3, "pets/dog": 2}, {"train": TWO}, ["looked through ROOT to pets"]),
        ({"data/pets/train/cat": 3, "data/pets/train/dog": 2, "data/pets/test/cat": 1},
         {"train": TWO, "test": {"cat": 1}}, ["looked through ROOT to data/pets"]),
        ({"train/train/cat": 3, "train/train/dog": 2, "test/test/cat": 1},
         {"train": TWO, "test": {"cat": 1}}, ["looked through ROOT/train to train", "looked through ROOT/test to"]),
        ({"asl_train/asl_train/cat": 3, "asl_train/asl_train/dog": 2, "asl_test/asl_test": 4}, {"train": TWO},
         ["looked through ROOT/asl_train to asl_train", "4 images in ROOT/asl_test are not used"]),
        ({"training_set/training_set/cat": 3, "training_set/training_set/dog": 2}, {"train": TWO},
         ["looked through ROOT/training_set to training_set"]),
        ({"images/train/cat": 3, "images/train/dog": 2, "papers/a.txt": "x"}, {"train": TWO},
         ["looked through ROOT to images", "1 files without an image ending"]),
        ({"train/images/cat": 3, "train/images/dog": 2, "train/xml/a.xml": "x"}, {"train": TWO},
         ["looked through ROOT/train to images", "1 files without an image ending"]),
        # parts under names that nobody knows
        ({"fold1/cat": 1, "fold1/dog": 1, "fold2/cat": 1, "fold2/dog": 2}, {"train": {"fold1": 2, "fold2": 3}},
         ["fold1, fold2 are taken for classes, not for parts: all have the same folders inside (cat, dog)"]),
        # hidden folders and left-overs
        ({"cat": 3, "dog": 2, ".git": 0, "__MACOSX/cat": 0, ".hidden/f.txt": "x", "Thumbs.db": "x"},
         {"train": TWO}, []),
        ({"cat": 3, "dog": 2, "cat/.ipynb_checkpoints": 2, "dog/@eaDir/x.png": 1}, {"train": TWO},
         ["3 images in hidden files or folders, or in left-overs of archives, were ignored: cat/.ipynb_ch"]),
        ({"photos/cat": 3, "photos/dog": 2, "__MACOSX/photos/cat/._000.png": "x"}, {"train": TWO},
         ["looked through ROOT to photos"]),
        # classes whose names look like parts
        ({"control": 3, "test": 2}, {"train": {"control": 3, "test": 2}}, ["ROOT/test is taken for a class"]),
        ({"invalid": 3, "valid": 2}, {"train": {"invalid": 3, "valid": 2}}, ["ROOT/valid is taken for a class"]),
        ({"car": 3, "plane": 3, "train": 2}, {"train": {"car": 3, "plane": 3, "train": 2}},
         ["ROOT/train is taken for a class"]),
        ({"beaker": 3, "test_tube": 2}, {"train": {"beaker": 3, "test_tube": 2}}, []),
        ({"train_station/day": 1, "castle/day": 2}, {"train": {"castle": 2, "train_station": 1}}, []),
        # other files
        ({"cat": 3, "dog": 2, "labels.csv": "a,b"}, {"train": TWO}, ["1 files without an image ending were ignored"]),
    ],
)  # fmt: skip
def test_what_a_person_sees(tmp_path: Path, tree: dict, parts: dict, notes: list[str]) -> None:
    found, told = seen(plant(tmp_path / "root", tree))
    assert found == parts
    assert len(told) == len(notes), told
    assert all(start in note for start, note in zip(notes, told, strict=True)), told


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"train": 3, "test": 2}, "root/train has 3 images but no class folders; wanted train/CLASS/image"),
        ({"train": 3, "test/cat": 2, "test/dog": 2}, "root/train has 3 images but no class folders"),
        ({"train/images": 3, "test/images": 2}, "root/train has 3 images but no class folders"),
        ({"train": 3, "train.csv": "id,label"}, "no class folders.*; labels are not read from train.csv"),
        ({"train": 3, "train/metadata.csv": "x"}, "no class folders.*; labels are not read from metadata.csv"),
        ({"seg_train": 3, "seg_test": 2, "cat": 1}, "root/seg_train has 3 images but no class folders"),
        ({"Training": 3, "unlabeled": 2}, "root/Training has 3 images but no class folders"),
        ({"val/cat": 3, "val/dog": 2}, "root has val but no train/ beside"),
        ({"val/cat": 3, "test/dog": 2}, "root has test, val but no train/ beside"),
        ({"train/cat": 3, "train/dog": 3, "plane": 4}, "root/train has class folders, and beside it lie plane"),
        ({"cat": 3, "dog": 3, "test/cat": 4}, "root/test has class folders, and beside it lie cat, dog"),
        ({"cat": 3, "dog": 3, "test": 4}, "root/test has 4 images without class folders beside the classes cat, dog"),
        ({"cat/train": 3, "cat/test": 1, "dog/train": 3, "dog/test": 1}, "root/cat has parts inside"),
        ({"train/cat": 3, "training/cat": 2}, "root/train and .*root/training are the same part"),
        ({"train/cat": 3, "train/dog": 3, "val/cat": 1, "dev/cat": 2}, "root/dev and .*root/val are the same part"),
        ({"a_train/cat": 3, "a_test/cat": 3, "b_train/cat": 1, "b_test/cat": 2}, "several data sets"),
        ({"train/cat": 3, "train/dog": 3, "valid/cat": 1, "valid/fox": 2}, "training part lacks: fox"),
        ({"train/cat": 3, "train/dog": 3, "valid/fox": 2}, "training part lacks: fox"),
        ({"train/cat": 3, "train/dog": 3, "train/fox": 0}, "no images in 1 of 3 class folders of .*root/train: fox"),
        ({"cat": 3, "dog": 0}, "no images in 1 of 2 class folders of .*root: dog"),
        ({"cat/a": 3, "cat/b": 3, "dog": 0}, "no images in 1 of 2 class folders of .*root: dog"),
        ({"images": 3, "labels/a.txt": "0 1 2 3 4"}, "images/ beside labels/, as in sets for detection"),
        ({"images": 3, "masks": 3}, "images/ beside masks/, as in sets for detection"),
        ({"covid/images": 3, "covid/masks": 3, "normal/images": 1}, "root/covid has images/ beside masks/"),
        ({"images/train": 3, "images/val": 3, "masks/train": 3, "masks/val": 3}, "images/ beside masks/"),
        ({"train/images": 3, "train/labels/a.txt": "0", "val/images": 3}, "images/ beside labels/"),
        ({"JPEGImages": 3, "Annotations/a.xml": "x", "SegmentationClass": 2}, "JPEGImages/ beside Annotations/"),
        ({"images": 3, "labels.csv": "x"}, "has a single class .images.; .*; labels are not read from labels.csv"),
        ({".": 3, "labels.csv": "x"}, "has no sub-folders; .*; labels are not read from labels.csv"),
        ({"train.zip": "x"}, "has no sub-folders; .*found 1 other files .train.zip."),
        ({"cat/a.heic": "x", "dog/b.heic": "x"}, "no images in 2 of 2 .*found 2 other files .a.heic, b.heic."),
        ({".cache": 3}, "has no sub-folders"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, tree: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        seen(plant(tmp_path / "root", tree))


@pytest.mark.parametrize("name", ["cat", "trainer", "contest", "7", "tests-train", "протест", "value", "medieval"])
def test_other_names_are_no_parts(name: str) -> None:
    assert part_of(name) is None


def test_flat_test_images_leave_a_task_of_the_training_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / "Train" / name, 12)
    fill(tmp_path / "TEST", 5)
    task = load_task(tmp_path, seed=0)
    assert task.classes == ("cat", "dog") and len(task.train) + len(task.validation) + len(task.test) == 24
    assert task.notes == (f"5 images in {tmp_path}/TEST are not used: they have no class folders",)
