"""Searches on a user's own images: folders and parquet files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pictures import encoded, fill, picture, write_parquet

#: two searched devices are enough to run to the end
UNSEEN = "[cpu_t1_b8_fp32,cpu_t1_b32_fp32]"
FEW = {
    "task__limit": "null",
    "search__steps": 2,
    "search__warmup_steps": 1,
    "search__refine_steps": 1,
    "search__batch_size": 8,
    "search__evaluations": 1,
    "devices__repeats": 1,
    "devices__formats": "[float32]",
    "devices__unseen": UNSEEN,
}


def test_a_folder_with_one_sub_folder_per_class(cli: Any, tmp_path: Path) -> None:
    fill(tmp_path / "animals" / "cat", 12, size=(6, 6))
    fill(tmp_path / "animals" / "dog", 10, size=(6, 6), seed=100)
    fill(tmp_path / "animals" / "dog", 2, size=(9, 7), seed=200)
    (tmp_path / "animals" / "dog" / "notes.txt").write_text("not an image")
    ended = cli.search("animals", "--data", tmp_path / "animals", **FEW)
    assert ended.code == 0, ended.err
    task = cli.result("animals")["task"]
    assert task["name"] == "animals" and task["classes"] == 2 and task["image"] == [3, 6, 6]
    assert any("notes.txt" in note for note in task["notes"]) and any("resized" in note for note in task["notes"])
    assert all(f"note: {note}" in ended.err for note in task["notes"])
    splits = [device["split"] for device in cli.result("animals")["devices"]]
    assert splits.count("unseen") == 2


def test_photos_are_scaled_down_and_searched_in_little_memory(cli: Any, tmp_path: Path) -> None:
    """Batches of 128 photos as they are, one per network, would take 1.9 GB each."""
    for seed, name in enumerate(("cat", "dog")):
        fill(tmp_path / "photos" / name, 8, size=(1280, 960), seed=seed)
    settings = cli.settings(**FEW, verify__networks=1, verify__epochs=1)
    ended = cli("search", "--out", "photos", "--data", tmp_path / "photos", *settings, memory=8 << 30)
    assert ended.code == 0, ended.err
    task = cli.result("photos")["task"]
    assert task["image"] == [3, 48, 64]
    assert any("16 of 16 images resized from 1280×960 to 64×48" in note for note in task["notes"])
    assert "Expected behind the measuring, about: search " in ended.err


def test_photos_at_full_size_are_refused_before_they_are_measured(cli: Any, tmp_path: Path) -> None:
    for seed, name in enumerate(("cat", "dog")):
        fill(tmp_path / "photos" / name, 8, size=(1280, 960), seed=seed)
    few = {**FEW, "task__resize": 512, "space__channels": 256, "search__batch_size": 8, "verify__networks": 0}
    settings = cli.settings(**few)
    ended = cli("search", "--out", "large", "--data", tmp_path / "photos", *settings, memory=8 << 30)
    assert ended.code == 2 and ended.err.splitlines()[-1].startswith("modnas-fast: ")
    assert "GB" in ended.err.splitlines()[-1] and "task.resize" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


def test_a_parquet_file(cli: Any, tmp_path: Path) -> None:
    images = [encoded(picture(index, size=(6, 6))) for index in range(24)]
    write_parquet(tmp_path / "pets.parquet", images, [index % 2 for index in range(24)], names=["cat", "dog"])
    ended = cli.search("pets", "--data", tmp_path / "pets.parquet", **FEW, verify__networks=0)
    assert ended.code == 0, ended.err
    task = cli.result("pets")["task"]
    assert task["name"] == "pets" and task["classes"] == 2 and task["image"] == [3, 6, 6]


def test_the_preset_for_cifar10(cli: Any) -> None:
    data = Path(os.environ.get("MODNAS_DATA", "absent")) / "cifar10"
    if not data.is_dir():
        pytest.skip("the environment variable MODNAS_DATA names no folder with cifar10/")
    few = {**FEW, "verify__networks": 0, "task__limit": 200, "search__batch_size": 16}
    ended = cli.search("cifar", "--preset", "cifar10-small", "--data", data, "--set", "task.test_limit=100", **few)
    assert ended.code == 0, ended.err
    result = cli.result("cifar")
    assert result["task"]["classes"] == 10 and result["task"]["image"] == [3, 16, 16]
    assert result["task"]["sizes"]["test"] == 100
    assert sum(result["task"]["sizes"].values()) == 300
    assert result["configuration"]["task"]["augment"] is True
