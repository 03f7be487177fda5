"""The benchmark data that `modnas-fast data` knows: every file with its pinned address, size and SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from modnas_fast.runtime.errors import InputError

State = Literal["present", "partly", "absent", "not verified"]
BLOCK = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """One file: `path` below the data folder, `url` pinned to a revision, `size` in bytes, `sha256` in hex."""

    path: str
    url: str
    size: int
    sha256: str

    def fault(self, folder: Path) -> str | None:
        """What is wrong with the copy below `folder`, in a few words; None where it is exactly the published file."""
        path = folder / self.path
        try:
            if not path.is_file():
                return "missing"
            size = path.stat().st_size
            if size != self.size:
                return f"{size:,} bytes instead of {self.size:,}"
            return None if sha256_of(path) == self.sha256 else "the SHA-256 differs"
        except OSError as error:
            return f"cannot be read: {error.strerror}"


@dataclass(frozen=True)
class DataSet:
    """Files that belong together, with what they are, their licence and where they come from."""

    name: str
    title: str
    licence: str
    source: str
    files: tuple[DataFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> str:
        """The path below the data folder that all files have in common."""
        return os.path.commonpath([os.path.dirname(file.path) for file in self.files])

    def count(self, folder: Path) -> int:
        """How many of the files lie below `folder`, right or wrong."""
        return sum((folder / file.path).is_file() for file in self.files)

    def faults(self, folder: Path) -> dict[DataFile, str]:
        """The files whose copy below `folder` is missing or wrong, with the fault of each."""
        found = {file: file.fault(folder) for file in self.files}
        return {file: fault for file, fault in found.items() if fault is not None}

    def state(self, folder: Path) -> State:
        """`present`: all files as published; `not verified`: all there, some not as published; `partly`; `absent`."""
        there = self.count(folder)
        if there < len(self.files):
            return "partly" if there else "absent"
        return "not verified" if self.faults(folder) else "present"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def datasets() -> dict[str, DataSet]:
    """Every data set by its name.

    >>> [len(data.files) for data in datasets().values()]
    [28, 1, 1, 2, 2]
    """
    return {entry["name"]: _dataset(entry) for entry in _content()["datasets"]}


def groups() -> dict[str, tuple[str, ...]]:
    """Names that stand for several data sets.

    >>> groups()
    {'nb201': ('help-latency', 'nats-bench', 'hw-nas-bench-360')}
    """
    return {name: tuple(members) for name, members in _content()["groups"].items()}


def select(names: Sequence[str]) -> list[DataSet]:
    """The data sets of names and group names, each once, in the order given. Raises InputError for an unknown name.

    >>> [data.name for data in select(["nats-bench", "nb201"])]
    ['nats-bench', 'help-latency', 'hw-nas-bench-360']
    """
    known, families = datasets(), groups()
    chosen: dict[str, DataSet] = {}
    for name in names:
        if name not in known and name not in families:
            raise InputError(f"data: unknown name {name!r}; available: {', '.join([*known, *families])}")
        chosen.update({member: known[member] for member in families.get(name, (name,))})
    return list(chosen.values())


def owner(path: str) -> str:
    """The name of the data set that the file at `path` below the data folder belongs to. Raises KeyError for none."""
    return {file.path: data.name for data in datasets().values() for file in data.files}[path]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        resources.files("modnas_fast.datasets").joinpath("registry.json").read_text(encoding="utf-8")
    )
    return content


def _dataset(entry: dict[str, Any]) -> DataSet:
    files = (
        DataFile(file["path"], entry["base"] + file["upstream"], file["size"], file["sha256"])
        for file in entry["files"]
    )
    return DataSet(entry["name"], entry["title"], entry["licence"], entry["source"], tuple(files))
