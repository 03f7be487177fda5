"""Run folders: made by one process alone, locked while it works, free again however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modnas_fast.config import make_config
from modnas_fast.result.folder import create_numbered_run, create_run, discard_unstarted, open_run
from modnas_fast.runtime import files
from modnas_fast.runtime import lock as run_lock
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.lock import holder, locked

#: holds the lock of a folder until it is told to go on, or killed
HOLD = "import sys; from pathlib import Path; from modnas_fast.runtime.lock import locked\n" \
       "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"  # fmt: skip


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_many_at_once_get_a_folder_each(tmp_path: Path) -> None:
    config = make_config()
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: create_numbered_run(tmp_path / "runs", "digits", config), range(40)))
    assert sorted(path.name for path in made) == [f"digits-{number:03d}" for number in range(1, 41)]
    assert all(open_run(path) == config for path in made)
    assert all([file.name for file in path.iterdir()] == ["config.yaml"] for path in made)


def test_of_many_that_want_one_folder_one_gets_it(tmp_path: Path) -> None:
    def make(number: int) -> str:
        try:
            create_run(tmp_path / "deep" / "run", make_config(seed=number))
        except InputError as error:
            assert "--out: " in str(error) and "\n" not in str(error)
            return "refused"
        return "made"

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(make, range(8)))
        assert sorted(outcomes) == ["made", *["refused"] * 7]
        discard_unstarted(tmp_path / "deep" / "run")
        assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(files.os, "link", lambda *paths: (_ for _ in ()).throw(PermissionError(1, "no links")))
    files.write_new(tmp_path / "a", "first")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_the_configuration_in_the_folder_has_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = create_run(Path("run"), make_config(task={"data": "photos"}))
    monkeypatch.chdir("/")
    assert open_run(tmp_path / folder).task.data == str(tmp_path / "photos")


def test_a_held_folder_is_refused_with_the_process(tmp_path: Path, other: subprocess.Popen) -> None:
    assert f"process {other.pid} on " in str(holder(tmp_path))
    told = rf"{tmp_path} is in use by process {other.pid} on .+ since \d{{4}}-"
    with pytest.raises(InputError, match=told) as error, locked(tmp_path):
        pass
    assert "\n" not in str(error.value)
    other.stdin.close()
    other.wait()
    assert holder(tmp_path) is None and list(tmp_path.iterdir()) == []


def test_a_crash_releases_the_folder(tmp_path: Path, other: subprocess.Popen) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / run_lock.LOCK_FILE).exists() and holder(tmp_path) is None
    with locked(tmp_path):
        assert json.loads((tmp_path / run_lock.LOCK_FILE).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} "), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "c"):
        (tmp_path / "c" / "kept").touch()
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["kept"]


def test_an_exception_releases_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["no service", "no module"])
def test_without_locks_of_the_file_system_the_named_process_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen, kind: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(37, "No locks available")

    if kind == "no module":
        monkeypatch.setattr(run_lock, "fcntl", None)
    else:
        monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
    with pytest.raises(InputError, match=f"process {other.pid} .*if it has ended, delete .*run.lock"), locked(tmp_path):
        pass
    other.kill()
    other.wait()
    with locked(tmp_path):
        assert holder(tmp_path / "elsewhere") is None
    lock = {"pid": 1, "host": "another", "since": "2026-01-01 00:00:00"}
    (tmp_path / run_lock.LOCK_FILE).write_text(json.dumps(lock))
    with pytest.raises(InputError, match="process 1 on another since 2026-01-01"), locked(tmp_path):
        pass
