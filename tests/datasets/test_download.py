"""Downloads from a local server that truncates, forgets, lies and fails; kills, two processes, full disks."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_server import (
    FileServer,
    cut_after,
    from_elsewhere,
    held_after,
    other,
    redirect,
    serving,
    status,
    without_ranges,
)

from modnas_fast.datasets import download as module
from modnas_fast.datasets.download import address, download
from modnas_fast.datasets.registry import DataFile
from modnas_fast.runtime.errors import InputError

CONTENT = random.Random(0).randbytes(300_000)
HALF = len(CONTENT) // 2
PATH = "tables/first.bin"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({f"/{PATH}": CONTENT, "/moved.bin": CONTENT}) as server:
        yield server


@pytest.fixture
def file(server: FileServer) -> DataFile:
    return DataFile(PATH, f"{server.url}/{PATH}", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def part_of(folder: Path) -> Path:
    return folder / "tables" / ".first.bin.part"


def leave_part(folder: Path, content: bytes) -> None:
    part_of(folder).parent.mkdir(parents=True, exist_ok=True)
    part_of(folder).write_bytes(content)


def assert_whole(folder: Path) -> None:
    """The file is there, and nothing else."""
    assert (folder / PATH).read_bytes() == CONTENT
    assert [path.name for path in (folder / "tables").iterdir()] == ["first.bin"]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_a_file_arrives_and_is_not_fetched_again(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    seen: list[int] = []
    download(file, tmp_path, advance=seen.append)
    assert_whole(tmp_path)
    assert seen == sorted(seen) and seen[-1] == len(CONTENT)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / PATH).stat().st_mode & 0o777 == 0o666 & ~umask
    download(file, tmp_path)
    assert server.ranges == [None]


def test_a_wrong_file_is_replaced(file: DataFile, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / PATH).write_bytes(b"\0" + CONTENT[1:])
    download(file, tmp_path)
    assert_whole(tmp_path)


def test_a_truncated_transfer_continues(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    server.script = [cut_after(1000), cut_after(2000)]
    download(file, tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [None, "bytes=1000-", "bytes=3000-"]


@pytest.mark.parametrize("step", [without_ranges, from_elsewhere, status(416)])
def test_a_server_that_does_not_continue_is_asked_for_all(
    server: FileServer, file: DataFile, tmp_path: Path, step: Callable
) -> None:
    leave_part(tmp_path, CONTENT[:HALF])
    server.script = [step]
    seen: list[int] = []
    download(file, tmp_path, advance=seen.append)
    assert_whole(tmp_path)
    assert server.ranges[0] == f"bytes={HALF}-" and seen[0] < HALF


@pytest.mark.parametrize("left", [b"\0" * HALF, CONTENT + b"more", CONTENT, b"\0" * len(CONTENT)])
def test_whatever_a_former_attempt_left(file: DataFile, tmp_path: Path, left: bytes) -> None:
    leave_part(tmp_path, left)
    download(file, tmp_path)
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (other(b"\0" * len(CONTENT)), "the SHA-256 differs"),
        (other(b"<html>please log in</html>"), "26 bytes instead of 300,000"),
        (other(CONTENT + b"more", announced=False), "more than 300,000 bytes"),
    ],
)
def test_other_content_is_refused_at_once(
    server: FileServer, file: DataFile, tmp_path: Path, step: Callable, fault: str
) -> None:
    server.script = [step]
    with pytest.raises(InputError) as error:
        download(file, tmp_path)
    assert f"not the published file ({fault})" in str(error.value) and "--mirror" in str(error.value)
    assert list((tmp_path / "tables").iterdir()) == []
    assert len(server.ranges) == 1


def test_a_missing_file_is_said_at_once(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    server.content.clear()
    with pytest.raises(InputError, match=r"first\.bin: HTTP 404 Not Found; use --mirror URL"):
        download(file, tmp_path)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_server_is_asked_again(server: FileServer, file: DataFile, tmp_path: Path, code: int) -> None:
    server.script = [status(code)] * (module.ATTEMPTS - 1)
    download(file, tmp_path)
    assert_whole(tmp_path)


def test_attempts_end(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    server.script = [cut_after(1000)] + [status(503)] * module.ATTEMPTS
    with pytest.raises(InputError, match="HTTP 503 Service Unavailable; try again later, which continues") as error:
        download(file, tmp_path)
    assert str(tmp_path / PATH) in str(error.value)
    assert len(server.ranges) == module.ATTEMPTS
    assert part_of(tmp_path).read_bytes() == CONTENT[:1000]


def test_pauses_grow(server: FileServer, file: DataFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module, "PAUSE", 0.5)
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.script = [status(500)] * 3
    download(file, tmp_path)
    assert pauses == [0.5, 1.0, 2.0]


def test_redirects_are_followed(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:HALF])
    server.script = [redirect("/moved.bin")]
    download(file, tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [f"bytes={HALF}-"] * 2


def test_a_redirect_without_end_is_an_error_of_one_line(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    server.script = [redirect(f"/{PATH}")] * 50
    with pytest.raises(InputError, match="HTTP 302") as error:
        download(file, tmp_path)
    assert "\n" not in str(error.value)


def test_a_silent_server_is_left(
    server: FileServer, file: DataFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    gate = threading.Event()
    server.script = [held_after(1000, gate)]
    download(file, tmp_path)
    gate.set()
    assert_whole(tmp_path)
    assert server.ranges == [None, "bytes=1000-"]


def test_without_network(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    server.server_close()
    with pytest.raises(InputError, match="no answer .*refused.*try again later.*--mirror URL") as error:
        download(file, tmp_path)
    assert str(tmp_path / PATH) in str(error.value)


def test_mirrors(server: FileServer, file: DataFile, tmp_path: Path) -> None:
    mirror = tmp_path / "a mirror"
    (mirror / "tables").mkdir(parents=True)
    (mirror / PATH).write_bytes(CONTENT)
    for number, base in enumerate((str(mirror), mirror.as_uri(), server.url, f"{server.url}/")):
        leave_part(tmp_path / str(number), CONTENT[:HALF])
        download(file, tmp_path / str(number), mirror=base)
        assert_whole(tmp_path / str(number))


def test_mirrors_are_not_trusted(file: DataFile, tmp_path: Path) -> None:
    (tmp_path / "mirror" / "tables").mkdir(parents=True)
    with pytest.raises(InputError, match="No such file or directory; use another --mirror"):
        download(file, tmp_path / "to", mirror=str(tmp_path / "mirror"))
    (tmp_path / "mirror" / PATH).write_bytes(b"\0" * len(CONTENT))
    with pytest.raises(InputError, match="the SHA-256 differs"):
        download(file, tmp_path / "to", mirror=str(tmp_path / "mirror"))
    for base in ("ftp://example.org/data", "http://[1"):
        with pytest.raises(InputError, match="--mirror: wanted http://"):
            address(file, base)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk(file: DataFile, tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).symlink_to("/dev/full")
    with pytest.raises(InputError, match="the disk is full, 300,000 more bytes are needed for first.bin; make room"):
        download(file, tmp_path)
    assert not (tmp_path / PATH).exists()


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="there is no /sys, which nobody can write to")
def test_a_folder_that_cannot_be_written(file: DataFile) -> None:
    with pytest.raises(InputError, match=r"/sys/data/tables: the folder cannot be written .*--to FOLDER"):
        download(file, Path("/sys/data"))


def test_a_file_in_the_place_of_the_folder(file: DataFile, tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("")
    with pytest.raises(InputError, match="File exists; choose another folder with --to"):
        download(file, tmp_path)


class Process:
    """A download in a process of its own."""

    PROGRAM = """
import sys
from pathlib import Path
from modnas_fast.datasets.download import download
from modnas_fast.datasets.registry import DataFile
path, url, size, sha256, folder = sys.argv[1:]
download(DataFile(path, url, int(size), sha256), Path(folder), say=lambda line: print(line, flush=True))
"""

    def __init__(self, file: DataFile, folder: Path) -> None:
        arguments = (file.path, file.url, str(file.size), file.sha256, str(folder))
        command = [sys.executable, "-c", self.PROGRAM, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str]:
        _, error = self.process.communicate(timeout=60)
        return self.process.returncode, error


@pytest.fixture
def halfway(server: FileServer, file: DataFile, tmp_path: Path) -> Iterator[tuple[Process, threading.Event]]:
    """A process that has half of the file, and the gate that lets it have the rest."""
    gate = threading.Event()
    server.script = [held_after(HALF, gate)]
    process = Process(file, tmp_path)
    until(lambda: part_of(tmp_path).exists() and part_of(tmp_path).stat().st_size == HALF)
    yield process, gate
    gate.set()
    process.process.kill()
    process.end()


def test_a_kill_in_the_middle(
    server: FileServer, file: DataFile, tmp_path: Path, halfway: tuple[Process, threading.Event]
) -> None:
    process, gate = halfway
    process.process.send_signal(signal.SIGKILL)
    assert process.end()[0] == -signal.SIGKILL
    gate.set()
    assert not (tmp_path / PATH).exists() and part_of(tmp_path).read_bytes() == CONTENT[:HALF]
    download(file, tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_two_processes_at_once(
    server: FileServer, file: DataFile, tmp_path: Path, halfway: tuple[Process, threading.Event]
) -> None:
    first, gate = halfway
    second = Process(file, tmp_path)
    assert second.first_line() == f"Waiting for another process that downloads {PATH}\n"
    gate.set()
    assert [first.end(), second.end()] == [(0, ""), (0, "")]
    assert_whole(tmp_path)
    assert server.ranges == [None]


def test_who_waited_for_a_killed_process_continues(
    server: FileServer, file: DataFile, tmp_path: Path, halfway: tuple[Process, threading.Event]
) -> None:
    first, _ = halfway
    second = Process(file, tmp_path)
    second.first_line()
    first.process.kill()
    assert second.end() == (0, "")
    assert_whole(tmp_path)
    assert server.ranges == [None, f"bytes={HALF}-"]
