"""One process at a time in a run's folder, by a lock that goes with the process, however it ends."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from modnas_fast.runtime.errors import InputError

try:
    import fcntl
except ImportError:  # no POSIX system: the process named in the file is looked for instead
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder until the end of the context. Raises InputError that names the process which holds it.

    A folder that is missing is made, and removed again where nothing came of it.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquire(folder)
    try:
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        json.dump({"pid": os.getpid(), "host": platform.node(), "since": since}, file)
        file.flush()
        yield
    finally:
        (folder / LOCK_FILE).unlink(missing_ok=True)
        file.close()
        with suppress(OSError):  # not empty
            for place in made:
                place.rmdir()


def holder(folder: Path) -> str | None:
    """The process that holds the folder, in words; None where none does."""
    try:
        with open(folder / LOCK_FILE, "r+", encoding="utf-8") as file:
            return None if _lock(file) else _words(file)
    except OSError:
        return None


def _acquire(folder: Path) -> TextIO:
    path = folder / LOCK_FILE
    while True:
        file = open(path, "a+", encoding="utf-8")
        if not _lock(file):
            words = _words(file)
            file.close()
            raise InputError(f"{folder} is in use by {words}; wait for it or stop it (if it has ended, delete {path})")
        if _is_still(file, path):
            return file
        file.close()  # its last holder has removed it meanwhile


def _is_still(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(file: TextIO) -> bool:
    """Whether the file is ours now. Where the file system has no locks, what the file says decides."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            pass  # such as a network file system without a lock service
    content = _content(file)
    return not content or (content["host"] == platform.node() and not _is_alive(content["pid"]))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return pid != os.getpid()


def _content(file: TextIO) -> dict[str, Any]:
    file.seek(0)
    try:
        content = json.load(file)
        return {"pid": int(content["pid"]), "host": str(content["host"]), "since": str(content["since"])}
    except (ValueError, KeyError, TypeError):
        return {}


def _words(file: TextIO) -> str:
    content = _content(file)
    if not content:
        return "another process"
    return f"process {content['pid']} on {content['host']} since {content['since']}"
