"""Links, hidden files and what cannot be read: used, refused, or counted in a note."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pictures import encoded, fill, picture

from modnas_fast.datasets import ImageTask, load_task
from modnas_fast.datasets.tree import grow
from modnas_fast.runtime.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 110 images."""
    root = tmp_path / "pets"
    fill(root / "cat", 110)
    fill(root / "dog", 110, seed=500)
    return root


def pool_size(task: ImageTask) -> int:
    return len(task.train) + len(task.validation) + len(task.test)


def test_few_dangling_links_are_counted_and_many_refused(folder: Path) -> None:
    (folder / "cat" / "x.png").symlink_to("../store/x.png")
    (note,) = load_task(folder, seed=0).notes
    assert note == (
        f"1 of 221 images are unreadable and were skipped: {folder}/cat/x.png (a link to ../store/x.png, which is "
        "missing)"
    )
    for index in range(30):
        (folder / "dog" / f"y{index}.JPG").symlink_to("/nowhere/y.jpg")
    with pytest.raises(InputError, match=r"31 of 251 images cannot be read, the first is .*x\.png \(a link to"):
        load_task(folder, seed=0)


def test_links_to_files_and_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "train").mkdir()
    (linked / "train" / "cat").symlink_to(folder / "cat", target_is_directory=True)
    (linked / "train" / "dog").mkdir()
    for path in (folder / "dog").iterdir():
        (linked / "train" / "dog" / path.name).symlink_to(path)
    (linked / "test").symlink_to(folder, target_is_directory=True)
    task = load_task(linked, seed=0, fractions=(0.5, 0.5, 0))
    assert task.classes == ("cat", "dog") and task.notes == ()
    assert [len(task.train), len(task.validation), len(task.test)] == [110, 110, 220]


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "cat" / "around").symlink_to(folder, target_is_directory=True)
    (folder / "dog" / "self").symlink_to("self")
    (folder / "dog" / "self.png").symlink_to("self.png")
    task = load_task(folder, seed=0)
    assert pool_size(task) == 220
    assert task.notes[:2] == (
        "1 links that lead nowhere were ignored: dog/self",
        "1 links to a folder around them were not followed: cat/around",
    )
    assert task.notes[2].startswith("1 of 221 images are unreadable and were skipped: ")


def test_a_link_in_place_of_a_class_folder_that_is_missing_is_refused(folder: Path) -> None:
    (folder / "fox").symlink_to("../store/fox")
    with pytest.raises(InputError, match=r"fox is a link that leads nowhere \(\.\./store/fox\) where folders"):
        load_task(folder, seed=0)


@pytest.mark.parametrize("lost", ["train", "more"])
def test_a_missing_sibling_is_no_reason_to_look_into_the_only_folder_left(folder: Path, lost: str) -> None:
    (folder.parent / lost).symlink_to("/nowhere/train")
    with pytest.raises(InputError, match=rf"{lost} is a link that leads nowhere \(/nowhere/train\) where folders"):
        load_task(folder.parent, seed=0)


def test_other_dangling_links_are_counted(folder: Path) -> None:
    (folder / "cat" / "more").symlink_to("/nowhere/more")
    (folder / "labels.csv").symlink_to("/nowhere/labels.csv")
    assert load_task(folder, seed=0).notes == ("2 links that lead nowhere were ignored: cat/more, labels.csv",)


def test_a_part_whose_classes_are_all_missing_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "set" / "test").mkdir(parents=True)
    (tmp_path / "set" / "train").symlink_to(folder)
    (tmp_path / "set" / "test" / "cat").symlink_to("/nowhere/cat")
    notes = load_task(tmp_path / "set", seed=0).notes
    assert notes == (
        f"{tmp_path}/set/test has no images and is not used",
        "1 links that lead nowhere were ignored: test/cat",
    )


def test_what_is_no_regular_file_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "cat" / "pipe.png")
    task = load_task(folder, seed=0)
    assert task.notes == ("1 files without an image ending were ignored: cat/pipe.png",)


def test_a_folder_that_cannot_be_listed_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dog" / "locked").mkdir()
    listed = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"dog/locked cannot be read: Permission denied; give permission"):
        load_task(folder, seed=0)
    (folder / "dog" / "locked").rename(folder / "dog" / ".locked")
    monkeypatch.undo()
    assert load_task(folder, seed=0).notes == ()


def test_files_that_may_not_be_read_are_unreadable_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open

    def refuse(path: object, *rest: object, **named: object) -> object:
        if str(path).endswith("cat/003.png"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refuse)
    (note,) = load_task(folder, seed=0).notes
    assert note.endswith("cat/003.png (Permission denied)")


def test_contents_that_were_never_fetched_are_named(folder: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    for path in (folder / "cat").iterdir():
        path.write_bytes(pointer)
    with pytest.raises(InputError, match=r"110 of 220 images .*000.png \(a pointer of Git LFS; run git lfs pull\)"):
        load_task(folder, seed=0)
    parquet = folder.parent / "train.parquet"
    parquet.write_bytes(pointer)
    with pytest.raises(InputError, match=r"train.parquet is a pointer of Git LFS, not the data; run git lfs pull"):
        load_task(parquet, seed=0)


def test_hidden_images_are_counted_where_they_are_images(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 2)
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "cat" / "._000.png").write_bytes(b"attributes")
    (tmp_path / "cat" / "._000.png").write_bytes(b"attributes")
    (tmp_path / "cat" / ".000.png").write_bytes(encoded(picture(0)))
    fill(tmp_path / "@eaDir" / "cat" / "000.png", 2)
    tree = grow(tmp_path)
    assert tree.count == 2
    found = [str(path.relative_to(tmp_path)) for path in tree.below("hidden")]
    assert found == ["@eaDir/cat/000.png/000.png", "@eaDir/cat/000.png/001.png", "cat/.000.png"]
