"""The measurement cache: kept, merged, told apart by fingerprint, mended when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modnas_fast.devices import Fingerprint, Measurement, MeasurementCache
from modnas_fast.runtime.errors import InputError

MACHINE = Fingerprint("a cpu", 4, 4, "2.8", ())
NETWORKS = {"space": "nb201", "channels": 8}


def open_cache(folder: Path, machine: Fingerprint = MACHINE, **networks: object) -> MeasurementCache:
    return MeasurementCache(machine, {**NETWORKS, **networks}, folder)


def test_measurements_survive_a_reload(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    assert cache.get("cpu", "net") is None and not cache.path.exists()
    cache.update({("cpu", "net"): Measurement(1.25, 0.03, "a doubt"), ("gpu", "net"): Measurement(0.1, 0.0)})
    for seen in (cache, open_cache(tmp_path)):
        assert seen.get("cpu", "net") == Measurement(1.25, 0.03, "a doubt")
        assert seen.get("gpu", "net") == Measurement(0.1, 0.0)
        assert seen.get("cpu", "other") is None


def test_two_writers_are_merged(tmp_path: Path) -> None:
    first, second = open_cache(tmp_path), open_cache(tmp_path)
    first.get("cpu", "a"), second.get("cpu", "a")
    first.update({("cpu", "a"): Measurement(1.0, 0.0)})
    second.update({("cpu", "b"): Measurement(2.0, 0.0)})
    third = open_cache(tmp_path)
    assert third.get("cpu", "a") == Measurement(1.0, 0.0) and third.get("cpu", "b") == Measurement(2.0, 0.0)
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]


@pytest.mark.parametrize(
    "change", [{"cpu": "b"}, {"cores": 8}, {"threads": 1}, {"torch": "2.9"}, {"gpus": ("gpu",)}, {}]
)
def test_another_fingerprint_is_another_file(tmp_path: Path, change: dict) -> None:
    cache, other = open_cache(tmp_path), open_cache(tmp_path, replace(MACHINE, **change))
    cache.update({("cpu", "net"): Measurement(1.0, 0.0)})
    assert (other.path == cache.path) is (not change)
    assert other.get("cpu", "net") == (None if change else Measurement(1.0, 0.0))


def test_another_family_of_networks_is_another_file(tmp_path: Path) -> None:
    open_cache(tmp_path).update({("cpu", "net"): Measurement(1.0, 0.0)})
    assert open_cache(tmp_path, channels=16).get("cpu", "net") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'{"schema": 2}',
        b'{"measurements": {}}',
        b"\xff\xfe",
        b"null",
        b'{"schema": 2, "measurements": {"cpu": {"net": 3}}}',
        b'{"schema": 2, "measurements": {"cpu": []}}',
        b'{"schema": 2, "measurements": {"cpu": {"net": [-1, 0, ""]}}}',
        b'{"schema": 2, "measurements": {"cpu": {"net": ["1", 0, ""]}}}',
        b'{"schema": 2, "measurements": {"cpu": {"net": [NaN, 0, ""]}}}',
        b'{"schema": 2, "measurements": {"cpu": {"net": [1.0, 0, 3]}}}',
        b'{"schema": 2, "measurements": {"cpu": {"net": [1.0, 0]}}}',
    ],
)
def test_a_damaged_file_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = open_cache(tmp_path).path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged .*--remeasure") as error:
        open_cache(tmp_path).get("cpu", "net")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_clearing_mends_a_damaged_file(tmp_path: Path) -> None:
    path = open_cache(tmp_path).path
    path.parent.mkdir(parents=True)
    path.write_text("{")
    cache = open_cache(tmp_path)
    cache.clear()
    cache.update({("cpu", "net"): Measurement(1.0, 0.0)})
    assert open_cache(tmp_path).get("cpu", "net") == Measurement(1.0, 0.0)


def test_clear_forgets_in_memory_and_on_disk(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.update({("cpu", "net"): Measurement(1.0, 0.0)})
    cache.clear()
    assert cache.get("cpu", "net") is None and not cache.path.exists()


@pytest.mark.parametrize("schema", [0, 1])
def test_another_schema_counts_as_empty(tmp_path: Path, schema: int) -> None:
    path = open_cache(tmp_path).path
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"schema": {schema}, "measurements": {{"cpu": {{"net": [1.0, 0.0]}}}}}}')
    assert open_cache(tmp_path).get("cpu", "net") is None


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_CACHE", str(tmp_path / "elsewhere"))
    assert MeasurementCache(MACHINE, NETWORKS).path.is_relative_to(tmp_path / "elsewhere")


@pytest.mark.parametrize("place", ["/dev/null", "/proc/nothing", "a file"])
def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    notes: list[str] = []
    cache = MeasurementCache(MACHINE, NETWORKS, tmp_path / "file" if place == "a file" else Path(place), notes.append)
    cache.try_writing()
    assert len(notes) == 1 and "run folder only" in notes[0] and "\n" not in notes[0]
    cache.update({("cpu", "a"): Measurement(1.0, 0.0)})
    cache.update({("cpu", "b"): Measurement(2.0, 0.0)})
    assert cache.get("cpu", "a") == Measurement(1.0, 0.0) and cache.get("cpu", "b") == Measurement(2.0, 0.0)
    cache.clear()
    assert cache.get("cpu", "a") is None and len(notes) == 1


def test_a_disk_that_fills_later_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    notes: list[str] = []
    cache = MeasurementCache(MACHINE, NETWORKS, tmp_path, notes.append)
    cache.try_writing()
    cache.update({("cpu", "a"): Measurement(1.0, 0.0)})
    monkeypatch.setattr("modnas_fast.devices.cache.write_json", full)
    assert notes == []
    for name in "bc":
        cache.update({("cpu", name): Measurement(2.0, 0.0)})
    assert [cache.get("cpu", name).latency_ms for name in "abc"] == [1.0, 2.0, 2.0]
    assert len(notes) == 1 and "No space left" in notes[0]
    assert open_cache(tmp_path).get("cpu", "a") == Measurement(1.0, 0.0)


def test_a_file_that_cannot_be_read_or_removed_counts_as_empty(tmp_path: Path) -> None:
    path = open_cache(tmp_path).path
    path.mkdir(parents=True)
    (path / "inside").touch()
    notes: list[str] = []
    cache = MeasurementCache(MACHINE, NETWORKS, tmp_path, notes.append)
    assert cache.get("cpu", "a") is None
    cache.clear()
    cache.update({("cpu", "a"): Measurement(1.0, 0.0)})
    assert cache.get("cpu", "a") == Measurement(1.0, 0.0) and len(notes) == 1


def test_a_file_damaged_while_measuring_is_replaced(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.update({("cpu", "a"): Measurement(1.0, 0.0)})
    cache.path.write_text("{")
    cache.update({("cpu", "b"): Measurement(2.0, 0.0)})
    seen = open_cache(tmp_path)
    assert seen.get("cpu", "a") == Measurement(1.0, 0.0) and seen.get("cpu", "b") == Measurement(2.0, 0.0)


def test_a_try_leaves_nothing(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.try_writing()
    assert list(cache.path.parent.iterdir()) == []
