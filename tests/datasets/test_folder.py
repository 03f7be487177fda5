"""Folders of images: both layouts, the treatment of uneven data, and every refusal."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded, fill, picture
from PIL import Image

from modnas_fast.datasets import ImageTask, load_task
from modnas_fast.datasets import images as images_module
from modnas_fast.datasets.encoded import Encoded
from modnas_fast.datasets.images import _threads, decode
from modnas_fast.runtime.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 12 images."""
    root = tmp_path / "pets"
    fill(root / "cat", 12)
    fill(root / "dog", 12, seed=100)
    return root


def pool_size(task: ImageTask) -> int:
    return len(task.train) + len(task.validation) + len(task.test)


def test_one_folder_per_class(folder: Path) -> None:
    fill(folder / ".cache", 3)
    (folder / "cat" / ".DS_Store").write_bytes(b"hidden")
    task = load_task(str(folder), seed=0)
    assert (task.name, task.classes, task.image_shape) == ("pets", ("cat", "dog"), (3, 8, 8))
    assert [len(task.train), len(task.validation), len(task.test)] == [12, 6, 6]
    assert task.flip and task.notes == (
        "3 images in hidden files or folders, or in left-overs of archives, were ignored: "
        ".cache/000.png, .cache/001.png, .cache/002.png",
    )
    wanted = {encoded_pixels(picture(v)): int(v >= 100) for v in (*range(12), *range(100, 112))}
    for split in (task.train, task.validation, task.test):
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            assert wanted.pop(image.numpy().tobytes()) == label
    assert not wanted


def encoded_pixels(image: Image.Image) -> bytes:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)).tobytes()


@pytest.mark.parametrize("held", ["test", "val", "valid", "validation"])
def test_train_and_one_held_out_folder(tmp_path: Path, held: str) -> None:
    for part, count in (("train", 12), (held, 5)):
        for name in ("a", "b"):
            fill(tmp_path / part / name, count)
    task = load_task(tmp_path, seed=0)
    assert [len(task.train), len(task.validation), len(task.test)] == [16, 8, 10]
    assert bool(task.notes) == (held != "test")
    halves = load_task(tmp_path, seed=0, fractions=(0.5, 0.5, 0.0), test_limit=4)
    assert [len(halves.train), len(halves.validation), len(halves.test)] == [12, 12, 4]


def test_train_validation_and_test_folders_are_kept(tmp_path: Path) -> None:
    for part, count in (("train", 12), ("val", 6), ("test", 5)):
        for name in ("a", "b"):
            fill(tmp_path / part / name, count)
    task = load_task(tmp_path, seed=0)
    assert [len(task.train), len(task.validation), len(task.test)] == [24, 12, 10]
    fill(tmp_path / "test" / "c", 1)
    with pytest.raises(InputError, match="classes that the training part lacks: c"):
        load_task(tmp_path, seed=0)


def test_the_seed_and_the_limit_choose_the_images(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    task = load_task(folder, seed=1, limit=12, progress=lambda done, total: calls.append((done, total)))
    assert pool_size(task) == 12 and calls[-1] == (12, 12)
    assert torch.equal(task.train.images, load_task(folder, seed=1, limit=12).train.images)
    assert not torch.equal(task.train.images, load_task(folder, seed=2, limit=12).train.images)


def test_mixed_sizes_become_the_most_common_or_the_given_one(folder: Path) -> None:
    fill(folder / "dog", 3, size=(20, 10))
    task = load_task(folder, seed=0)
    assert task.image_shape == (3, 8, 8)
    assert task.notes == ("3 of 24 images resized to 8×8",)
    assert load_task(folder, seed=0, resize=16).image_shape == (3, 16, 16)


def test_a_rectangular_common_size_keeps_its_orientation(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(tmp_path / name, 8, size=(12, 6))
    assert load_task(tmp_path, seed=0).image_shape == (3, 6, 12)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_any_colour_makes_all_rgb(tmp_path: Path, mode: str) -> None:
    fill(tmp_path / "a", 8, mode="L")
    fill(tmp_path / "b", 7, mode="L")
    picture(5, mode=mode).save(tmp_path / "b" / f"x.{'tif' if mode == 'CMYK' else 'png'}")
    task = load_task(tmp_path, seed=0)
    assert task.image_shape[0] == 3
    converted = ("1 of 16 images converted from CMYK to RGB",) if mode == "CMYK" else ()
    assert task.notes == (*converted, "15 of 16 images converted from grey to RGB")


def test_grey_alpha_one_bit_and_sixteen_bits_stay_grey(tmp_path: Path) -> None:
    fill(tmp_path / "a", 8, mode="L")
    fill(tmp_path / "b", 8, mode="LA")
    for index in range(8):
        pixels = np.full((8, 8), 256 * (10 + index) + 7, dtype=np.uint16)
        (tmp_path / "c").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "c" / f"{index}.png")
    fill(tmp_path / "d", 8, mode="1")
    task = load_task(tmp_path, seed=0)
    assert task.image_shape == (1, 8, 8)
    deep = torch.cat([split.images[split.labels == 2] for split in (task.train, task.validation, task.test)])
    assert sorted(deep[:, 0, 0, 0].tolist()) == [round((256 * v + 7) * 255 / 16383) for v in range(10, 18)]


def test_few_unreadable_images_are_skipped_with_a_note(tmp_path: Path) -> None:
    fill(tmp_path / "a", 110)
    fill(tmp_path / "b", 110, seed=500)
    (tmp_path / "a" / "000.png").write_bytes(b"no image")
    (tmp_path / "b" / "109.png").write_bytes(encoded(picture(609))[:100])
    task = load_task(tmp_path, seed=0)
    assert pool_size(task) == 218
    (note,) = task.notes
    assert note.startswith("2 of 220 images are unreadable and were skipped: ")
    assert note.index("000.png") < note.index("109.png")


def test_labels_follow_their_images_when_some_are_skipped(tmp_path: Path) -> None:
    fill(tmp_path / "a", 110, mode="L", seed=0)
    (tmp_path / "b").mkdir()
    for index in range(110):
        Image.new("L", (8, 8), 255).save(tmp_path / "b" / f"{index:03}.png")
    (tmp_path / "a" / "003.png").write_bytes(b"")
    task = load_task(tmp_path, seed=0)
    for split in (task.train, task.validation, task.test):
        white = (split.images == 255).flatten(1).all(-1)
        assert torch.equal(white, split.labels == 1)


def test_many_unreadable_images_are_refused(folder: Path) -> None:
    for index in (4, 7):
        (folder / "cat" / f"{index:03}.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"2 of 24 images cannot be read, the first is .*004\.png \(not an"):
        load_task(folder, seed=0)


def test_truncated_images_are_refused(folder: Path) -> None:
    path = folder / "dog" / "000.png"
    path.write_bytes(encoded(picture(1, size=(64, 64)))[:-6000])
    with pytest.raises(InputError, match=r"1 of 24 images cannot be read, the first is .*dog.000\.png"):
        load_task(folder, seed=0)


@pytest.mark.parametrize("side", [12_000, 30_000])
def test_decompression_bombs_are_unreadable(folder: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "cat" / "000.png").write_bytes(bomb)
    with pytest.raises(InputError, match=r"1 of 24 images cannot be read.*pixels"):
        load_task(folder, seed=0)


def test_parts_emptied_by_unreadable_images_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(tmp_path / "train" / name, 120)
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "000.png").write_bytes(b"")
    with pytest.raises(InputError, match="no image of the test part can be read"):
        load_task(tmp_path, seed=0)


def test_large_files_are_decoded_by_threads_in_order(tmp_path: Path) -> None:
    files = [tmp_path / f"{index:03}.png" for index in range(200)]
    for index, path in enumerate(files):
        picture(index, size=(90, 90)).save(path)
    items = [Encoded(path.name, path) for path in files]
    assert _threads(items)[0] == min(8, os.cpu_count() or 1) and _threads([Encoded("a", b"tiny")])[0] == 1
    images = decode(items, resize=90).images
    for index, image in enumerate(images):
        assert image.numpy().tobytes() == encoded_pixels(picture(index, size=(90, 90)))


def test_other_files_are_ignored_with_a_note(folder: Path) -> None:
    (folder / "cat" / "readme.txt").write_text("hello")
    (folder / "dog" / "model.pkl").write_bytes(b"\x80\x04.")
    task = load_task(folder, seed=0)
    assert pool_size(task) == 24
    assert task.notes == ("2 files without an image ending were ignored: cat/readme.txt, dog/model.pkl",)


def test_too_large_a_result_is_refused_before_it_is_allocated(folder: Path) -> None:
    with pytest.raises(InputError, match="need 16.1 GiB, more than 8 GiB; set task.resize or task.limit"):
        load_task(folder, seed=0, resize=15_500)


def test_what_free_memory_cannot_hold_twice_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 images of 1000×1000 are 0.067 GiB, twice while they are divided, beside what decoding takes."""
    total = 24 * 3 * 1000 * 1000
    monkeypatch.setattr(images_module, "free_memory", lambda device: images_module.WORKING_BYTES + 2 * total - 1)
    with pytest.raises(InputError, match=r"need 0\.1 GiB, more than the 1\.1 GiB free allow; set task.resize"):
        load_task(folder, seed=0, resize=1000)
    monkeypatch.setattr(images_module, "free_memory", lambda device: images_module.WORKING_BYTES + 2 * total)
    assert load_task(folder, seed=0, resize=1000).image_shape == (3, 1000, 1000)


def test_refusals(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="missing does not exist"):
        load_task(tmp_path / "missing", seed=0)
    with pytest.raises(InputError, match="does not exist"):
        load_task("./digits", seed=0)
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InputError, match=r"neither a folder nor a \.parquet file"):
        load_task(tmp_path / "note.txt", seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no sub-folders"):
        load_task(tmp_path / "empty", seed=0)
    fill(tmp_path / "single" / "only", 10)
    with pytest.raises(InputError, match=r"single has a single class \(only\)"):
        load_task(tmp_path / "single", seed=0)
    (folder / "fox").mkdir()
    (folder / "hen").mkdir()
    with pytest.raises(InputError, match="no images in 2 of 4 class folders of .*: fox, hen"):
        load_task(folder, seed=0)
    fill(folder / "fox", 8)
    fill(folder / "hen", 5)
    with pytest.raises(InputError, match="class hen of pets has 5 images; wanted at least 8"):
        load_task(folder, seed=0)
    (tmp_path / "loose").mkdir()
    picture(0).save(tmp_path / "loose" / "a.png")
    with pytest.raises(InputError, match="has no sub-folders"):
        load_task(tmp_path / "loose", seed=0)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads every folder")
def test_a_folder_without_permission_is_refused(folder: Path) -> None:
    (folder / "cat").chmod(0)
    try:
        with pytest.raises(InputError, match="cat cannot be read"):
            load_task(folder, seed=0)
    finally:
        (folder / "cat").chmod(0o755)
