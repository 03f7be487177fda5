"""What the registry lists, the state of a folder against it, and where data is looked for."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

import pytest

from modnas_fast.datasets import data_home, locate
from modnas_fast.datasets.registry import DataFile, DataSet, datasets, groups, owner, select
from modnas_fast.runtime.errors import InputError

DATA = os.environ.get("MODNAS_DATA")
FILES = [file for data in datasets().values() for file in data.parts]


def small(name: str, content: bytes) -> DataFile:
    return DataFile(name, "", len(content), hashlib.sha256(content).hexdigest())


FIRST, SECOND = small("a/first.csv", b"1,2\n"), small("a/second.csv", b"3,4\n")
PAIR = DataSet("pair", "two files", "MIT", "https://example.org", (FIRST, SECOND))


def test_names() -> None:
    assert {"help-latency", "nats-bench", "hw-nas-bench-360", "cifar10", "hw-gpt-bench-s"} <= set(datasets())
    assert [data.name for data in select(["nb201"])] == list(groups()["nb201"])
    with pytest.raises(InputError, match="unknown name 'nasbench'; available: help-latency, .*, nb201, gpt"):
        select(["nats-bench", "nasbench"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path)
def test_every_file_is_pinned(file: DataFile) -> None:
    host = r"(raw\.githubusercontent\.com|huggingface\.co/datasets)"
    package = r"unpkg\.com/[a-z0-9-]+@\d+\.\d+\.\d+"  # a version of npm stays what it is
    assert re.fullmatch(rf"https://({host}/.*/[0-9a-f]{{40}}|{package})/.*", file.url)
    assert re.fullmatch("[0-9a-f]{64}[|]|[|][0-9a-f]{40}", f"{file.sha256}|{file.git_blob}") and file.size > 0
    path = PurePosixPath(file.path)
    assert not path.is_absolute() and ".." not in path.parts
    assert path.suffix == PurePosixPath(file.url).suffix


def test_no_file_is_listed_twice() -> None:
    for values in ([f.path for f in FILES], [f.url for f in FILES], [f.sha256 or f.git_blob for f in FILES]):
        assert len(set(values)) == len(values)


@pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files to compare")
def test_the_published_files_are_those_of_the_registry() -> None:
    folder = Path(str(DATA))
    for name in (*groups()["nb201"], *groups()["hat"], "gpt2-bpe"):
        assert datasets()[name].faults(folder) == {}
        assert datasets()[name].state(folder) == "present"
    listed = {file.path for file in FILES if file.path.startswith("nb201/")}
    assert {p.relative_to(folder).as_posix() for p in (folder / "nb201").rglob("*") if p.is_file()} == listed


def test_the_state_of_a_folder(tmp_path: Path) -> None:
    assert PAIR.state(tmp_path) == "absent" and PAIR.faults(tmp_path) == dict.fromkeys(PAIR.paths, "missing")
    (tmp_path / "a").mkdir()
    (tmp_path / FIRST.path).write_bytes(b"1,2\n")
    assert PAIR.state(tmp_path) == "partly" and PAIR.faults(tmp_path) == {SECOND.path: "missing"}
    (tmp_path / SECOND.path).write_bytes(b"3,5\n")
    assert PAIR.state(tmp_path) == "not verified" and PAIR.faults(tmp_path) == {SECOND.path: "the SHA-256 differs"}
    (tmp_path / SECOND.path).write_bytes(b"3,")
    assert PAIR.faults(tmp_path) == {SECOND.path: "2 bytes instead of 4"}
    (tmp_path / SECOND.path).write_bytes(b"3,4\n")
    assert PAIR.state(tmp_path) == "present" and PAIR.faults(tmp_path) == {}


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / FIRST.path).write_bytes(b"1,2\n")

    def broken(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("modnas_fast.datasets.registry.sha256_of", broken)
    assert FIRST.fault(tmp_path) == "cannot be read: Input/output error"


def test_where_data_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MODNAS_DATA", raising=False)
    assert data_home() == tmp_path / "cache" / "data"
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path / "own"))
    assert data_home() == tmp_path / "own"


def test_locate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    with pytest.raises(InputError, match="nats_bench.csv is missing; .*: modnas-fast data fetch nats-bench"):
        locate("nb201/nats_bench.csv")
    (tmp_path / "nb201").mkdir()
    (tmp_path / "nb201" / "nats_bench.csv").write_text("")
    assert locate("nb201/nats_bench.csv") == tmp_path / "nb201" / "nats_bench.csv"
    with pytest.raises(KeyError):
        locate("nb201/unknown.csv")


def test_every_file_has_its_owner() -> None:
    for data in datasets().values():
        assert {owner(path) for path in data.paths} == {data.name}
        with pytest.raises(KeyError):
            owner("gpt/raw/mem_a100+efficiency_observations_0_10000.pkl")
