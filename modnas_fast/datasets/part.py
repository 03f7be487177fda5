"""The hidden file in which a download grows until it is whole, verified and renamed to its place."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from modnas_fast.datasets.registry import DataFile
from modnas_fast.runtime.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
#: what network file systems answer that know no locks; the rename and the checksum still keep the target whole
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


class Part:
    """`.NAME.part` beside the target NAME: its lock says who downloads, and its length how far that came.

    A kill leaves it behind, and the next download appends to it.
    """

    def __init__(self, file: DataFile, folder: Path, handle: BinaryIO, path: Path) -> None:
        self._file, self._target, self._handle, self._path = file, folder / file.path, handle, path
        self.size = os.fstat(handle.fileno()).st_size

    def append(self, block: bytes) -> None:
        """Adds bytes at the end. Raises InputError with the bytes still needed where the disk is full."""
        rest = memoryview(block)
        with _disk(self._file, self._target, self.size):
            while rest:  # the last write before a disk is full may take some of the bytes
                rest = rest[self._handle.write(rest) :]
        self.size += len(block)

    def restart(self) -> None:
        """Forgets everything so far."""
        if self.size == 0:
            return
        with _disk(self._file, self._target, 0):
            self._handle.truncate(0)
        self.size = 0

    def remove(self) -> None:
        """Deletes the file."""
        self._path.unlink(missing_ok=True)

    def is_published(self) -> bool:
        """Whether the content is exactly the published file."""
        return self.size == self._file.size and self._file.is_content_of(self._path)

    def install(self) -> None:
        """Flushes the content to disk and renames it to the target."""
        with _disk(self._file, self._target, self.size):
            os.fsync(self._handle.fileno())
            self._path.replace(self._target)


@contextmanager
def claim(file: DataFile, folder: Path, say: Callable[[str], None]) -> Iterator[Part]:
    """Yields the part of a file once no other process holds it; `say` tells that there is one to wait for.

    Raises InputError where `folder` cannot be written.
    """
    target = folder / file.path
    path = target.with_name(f".{target.name}.part")
    while True:
        with _disk(file, target, 0):
            target.parent.mkdir(parents=True, exist_ok=True)
            # unbuffered, so that a full disk shows at the write that it fails
            handle = open(path, "ab", buffering=0)
        with handle:
            with _disk(file, target, 0):
                _lock(handle, file, say)
            # Whoever held it has renamed or deleted it meanwhile: what is locked here is no longer the part.
            if _is_at(handle, path):
                yield Part(file, folder, handle, path)
                return


def _lock(handle: BinaryIO, file: DataFile, say: Callable[[str], None]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"Waiting for another process that downloads {file.path}")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _is_at(handle: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def _disk(file: DataFile, target: Path, have: int) -> Iterator[None]:
    """Turns what this machine's disk refuses into a line with the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            text = (
                f"the disk is full, {file.size - have:,} more bytes are needed for {target.name}; make room and "
                "fetch again, which continues, or choose another folder with --to"
            )
        elif error.errno in FORBIDDEN:
            text = f"the folder cannot be written ({error.strerror}); choose another with --to FOLDER or MODNAS_DATA"
        else:
            text = f"{error.strerror or error}; choose another folder with --to FOLDER or MODNAS_DATA"
        raise InputError(f"{target.parent}: {text}") from None
