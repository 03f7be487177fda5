"""Image parquet: layouts, class names, reading of chosen rows only, every refusal, and the real CIFAR-10."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import encoded, picture, write_parquet

from modnas_fast.datasets import load_task
from modnas_fast.datasets.parquet import read_parquet
from modnas_fast.runtime.errors import InputError

DATA = os.environ.get("MODNAS_DATA")


def pictures(count: int, seed: int = 0) -> list[bytes | None]:
    return [encoded(picture(seed + index)) for index in range(count)]


def labels(count: int, classes: int = 3) -> list[int]:
    return [index % classes for index in range(count)]


def test_a_single_file_with_class_names(tmp_path: Path) -> None:
    path = tmp_path / "pets.parquet"
    write_parquet(path, pictures(36), labels(36), names=["cat", "dog", "fox"])
    task = load_task(path, seed=0)
    assert (task.name, task.classes, task.image_shape) == ("pets", ("cat", "dog", "fox"), (3, 8, 8))
    assert [len(task.train), len(task.validation), len(task.test)] == [18, 9, 9]
    wanted = {picture(index).tobytes(): index % 3 for index in range(36)}
    for split in (task.train, task.validation, task.test):
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            assert wanted.pop(image.permute(1, 2, 0).contiguous().numpy().tobytes()) == label
    assert not wanted


def test_without_metadata_classes_are_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pictures(30), [index % 3 + 1 for index in range(30)], image_column="image")
    assert load_task(path, seed=0).classes == ("1", "2", "3")


@pytest.mark.parametrize("place", ["", "data"])
def test_a_folder_of_shards(tmp_path: Path, place: str) -> None:
    root = tmp_path / "set"
    for shard in range(2):
        path = root / place / f"train-0000{shard}-of-00002.parquet"
        write_parquet(path, pictures(30, 30 * shard), labels(30))
    write_parquet(root / place / "test-00000-of-00001.parquet", pictures(9, 900), labels(9))
    task = load_task(root, seed=0, fractions=(0.5, 0.5, 0.0))
    assert task.name == "set"
    assert [len(task.train), len(task.validation), len(task.test)] == [30, 30, 9]
    write_parquet(root / place / "validation-00000-of-00001.parquet", pictures(12, 800), labels(12))
    task = load_task(root, seed=0)
    assert [len(task.train), len(task.validation), len(task.test)] == [60, 12, 9]


def test_only_chosen_rows_are_read(tmp_path: Path) -> None:
    content = pictures(40)
    path = tmp_path / "a.parquet"
    write_parquet(path, content, labels(40, 2), row_group_size=7)
    library = read_parquet(path)
    rows = [0, 6, 7, 20, 39]
    found = list(library.train.fetch(rows))
    assert [image.source for image in found] == [content[row] for row in rows]
    assert found[3].name == "a.parquet row 20 (20.png)"
    task = load_task(path, seed=0, limit=12)
    assert len(task.train) + len(task.validation) + len(task.test) == 12


def test_plain_bytes_and_narrow_label_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = {"image": pa.array(pictures(20), pa.binary()), "label": pa.array(labels(20, 2), pa.uint8())}
    pq.write_table(pa.table(table), path)
    assert load_task(path, seed=0).num_classes == 2


def test_unreadable_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    content = pictures(20)
    content[11] = None
    content[17] = b"GIF89a"
    write_parquet(path, content, labels(20, 2))
    message = r"2 of 20 images cannot be read, the first is a.parquet row 11 \(11.png\) \(no bytes\)"
    with pytest.raises(InputError, match=message):
        load_task(path, seed=0)


@pytest.mark.parametrize("label_column", ["labels", "fine_label"])
def test_other_columns_are_named(tmp_path: Path, label_column: str) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pictures(4), labels(4), label_column=label_column)
    message = f"needs a column img or image and a column label, found img, {label_column}"
    with pytest.raises(InputError, match=message):
        load_task(path, seed=0)
    write_parquet(path, pictures(4), labels(4), image_column="photo")
    with pytest.raises(InputError, match="found photo, label"):
        load_task(path, seed=0)


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([0, 1] * 9 + [0, 7], ["a", "b"], "label 7 in row 19 of .* is out of range: wanted 0 to 1"),
        ([0, 1] * 9 + [0, -1], ["a", "b"], "label -1 in row 19 of .* is out of range"),
        ([0, 1] * 9 + [0, -1], None, "label -1 is below 0"),
        ([0, 1] * 9 + [None, 1], ["a", "b"], "1 labels are null, the first in row 18"),
        ([0.5] * 20, None, "column label: wanted whole numbers, found double"),
        (["a", "b"] * 10, None, "column label: wanted whole numbers, found string"),
        ([0] * 20, None, r"has a single class \(0\)"),
        ([0, 1] * 10, ["a", "b", "c"], "class c of a has 0 images"),
        ([0] * 13 + [1] * 7, ["a", "b"], "class b of a has 7 images; wanted at least 8"),
    ],
)
def test_bad_labels(tmp_path: Path, values: list, names: list[str] | None, message: str) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pictures(20), values, names=names)
    with pytest.raises(InputError, match=message):
        load_task(path, seed=0)


@pytest.mark.parametrize("metadata", ["{", "[]", '{"info": null}', '{"info": {"features": {"label": {"names": 3}}}}'])
def test_odd_metadata_is_as_none(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pictures(20), labels(20, 2))
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    assert load_task(path, seed=0).classes == ("0", "1")


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but nothing else")
    with pytest.raises(InputError, match=r"a\.parquet is no readable parquet file"):
        load_task(path, seed=0)
    pq.write_table(pa.table({"img": labels(4), "label": labels(4)}), path)
    with pytest.raises(InputError, match=r"column img of .*: wanted \{bytes, path\} or bytes, found int64"):
        load_task(path, seed=0)
    write_parquet(tmp_path / "b.parquet", pictures(4), labels(4))
    with pytest.raises(InputError, match=r"does not tell its part.*found a.parquet, b.parquet"):
        load_task(tmp_path, seed=0)
    write_parquet(tmp_path / "c" / "test-0.parquet", pictures(4), labels(4))
    write_parquet(tmp_path / "c" / "test-1.parquet", pictures(4), labels(4))
    with pytest.raises(InputError, match=r"no train-\*.parquet"):
        load_task(tmp_path / "c", seed=0)


def shard(path: Path, count: int, seed: int = 0) -> None:
    write_parquet(path, pictures(count, seed), labels(count))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("plain_text/train-00000-of-00001", "plain_text/test-00000-of-00001"),
        ("data/train-00000-of-00001", "data/validation-00000-of-00001"),
        ("default/train/0000", "default/test/0000"),
        ("train/0000", "test/0000"),
        ("fine/Training", "fine/eval"),
        ("a/b/my-train", "a/b/my-test"),
    ],
)
def test_a_clone_of_a_hub(tmp_path: Path, train: str, test: str) -> None:
    root = tmp_path / "clone"
    shard(root / f"{train}.parquet", 30)
    shard(root / f"{test}.parquet", 9, 900)
    shard(root / ".cache" / "train.parquet", 12)
    (root / ".git").mkdir()
    (root / "README.md").write_text("configs:")
    task = load_task(root, seed=0, fractions=(0.5, 0.5, 0))
    assert (task.name, [len(task.train), len(task.validation), len(task.test)]) == ("clone", [15, 15, 9])
    picture(0).save(root / "sample.png")
    assert "1 images beside the parquet files are not used" in load_task(root, seed=0).notes


@pytest.mark.parametrize(
    "names", [("fine/train-0", "coarse/train-0"), ("train-0", "data/train-0"), ("a/train/0", "b/train/0")]
)
def test_several_configurations_are_named(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        shard(tmp_path / "clone" / f"{name}.parquet", 30)
    places = [{"train-0": r"\."}.get(name, name.split("/")[0]) for name in names]
    listed = ", ".join(sorted(places))
    message = rf"several data sets or configurations \({listed}\); name one, such as --data .*/clone/"
    with pytest.raises(InputError, match=message):
        load_task(tmp_path / "clone", seed=0)


def test_a_clone_with_its_test_part_alone_is_refused(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "test-00000-of-00001.parquet", 30)
    with pytest.raises(InputError, match=r"no train-\*.parquet in .*data; found test-00000-of-00001.parquet"):
        load_task(tmp_path, seed=0)
    assert load_task(tmp_path / "data" / "test-00000-of-00001.parquet", seed=0).num_classes == 3


def test_a_test_part_without_labels_is_left_out_with_a_note(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.parquet", 30)
    write_parquet(tmp_path / "test-0.parquet", pictures(9), [-1] * 9)
    task = load_task(tmp_path, seed=0)
    assert len(task.train) + len(task.validation) + len(task.test) == 30
    note = "9 images of the test part are not used: all their labels are −1"
    assert task.notes == (note,)
    write_parquet(tmp_path / "unlabeled-00000-of-00001.parquet", pictures(9), [-1] * 9)
    assert load_task(tmp_path, seed=0).notes == ("1 parquet files of images without labels are not used", note)


def test_a_lone_file_without_a_part_is_training_data(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "0000.parquet", 30)
    assert load_task(tmp_path, seed=0).num_classes == 3


def test_a_dangling_shard_is_refused(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.parquet", 30)
    (tmp_path / "train-1.parquet").symlink_to("/nowhere/train-1.parquet")
    with pytest.raises(InputError, match=r"train-1.parquet is no readable parquet file: .*No such file"):
        load_task(tmp_path, seed=0)


def test_large_rows_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    content = pictures(40)
    write_parquet(path, content, labels(40), row_group_size=40)
    monkeypatch.setattr("modnas_fast.datasets.parquet.BATCH_BYTES", 3 * len(content[0] or b""))
    library = read_parquet(path)
    assert [image.source for image in library.train.fetch(range(40))] == content
    assert [image.name for image in library.train.fetch([5, 38])] == [
        "a.parquet row 5 (5.png)",
        "a.parquet row 38 (38.png)",
    ]


def test_an_empty_test_part_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", pictures(20), labels(20, 2), names=["a", "b"])
    empty = pq.read_table(tmp_path / "train-0.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "test-0.parquet")
    with pytest.raises(InputError, match="the test part of .* has no images"):
        load_task(tmp_path, seed=0)


def test_damaged_pages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pictures(40), labels(40, 2))
    content = bytearray(path.read_bytes())
    content[4:3000] = bytes(2996)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_task(path, seed=0)


@pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no CIFAR-10 parquet")
def test_cifar10() -> None:
    folder = Path(str(DATA)) / "cifar10"
    task = load_task(folder, seed=0, limit=2000, test_limit=500, fractions=(0.5, 0.5, 0.0))
    assert (task.name, task.image_shape, task.notes) == ("cifar10", (3, 32, 32), ())
    assert task.classes[0] == "airplane" and task.classes[9] == "truck"
    assert torch.bincount(task.train.labels).tolist() == [100] * 10
    assert torch.bincount(task.validation.labels).tolist() == [100] * 10
    assert torch.bincount(task.test.labels).tolist() == [50] * 10
    torch.testing.assert_close(task.mean, torch.tensor([0.491, 0.482, 0.447]), atol=0.02, rtol=0)
    torch.testing.assert_close(task.std, torch.tensor([0.247, 0.243, 0.262]), atol=0.02, rtol=0)
