"""The benchmark data that `modnas-fast data` knows: every file with its pinned address, size and checksum.

A checksum is the SHA-256 of the file, or, where a source pins nothing else, git's blob id of it: the SHA-1 of
"blob SIZE", a zero byte and the content. A data set may be raw material: what is used is made of its files, and tells
of which (`Product`).
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Literal, Protocol

from modnas_fast.runtime.errors import InputError

State = Literal["present", "partly", "absent", "not verified"]
BLOCK = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """One file: `path` below the data folder, `url` pinned to a revision, `size` in bytes, its checksum in hex.

    Either `sha256` is given, or `git_blob`.
    """

    path: str
    url: str
    size: int
    sha256: str = ""
    git_blob: str = ""

    def fault(self, folder: Path) -> str | None:
        """What is wrong with the copy below `folder`, in a few words; None where it is exactly the published file."""
        path = folder / self.path
        try:
            if not path.is_file():
                return "missing"
            size = path.stat().st_size
            if size != self.size:
                return f"{size:,} bytes instead of {self.size:,}"
            return None if self.is_content_of(path) else f"the {self.checksum} differs"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    @property
    def checksum(self) -> str:
        """What the content is compared by, in words."""
        return "SHA-256" if self.sha256 else "git blob id"

    def is_content_of(self, path: Path) -> bool:
        """Whether the file at `path`, of the right size, has the published content."""
        return sha256_of(path) == self.sha256 if self.sha256 else git_blob_of(path) == self.git_blob


class Making(Protocol):
    """Makes a product of raw files, in order, with where each comes from in a line; `advance` gets files done."""

    def __call__(self, raw: Sequence[Path], origin: str, out: Path, advance: Callable[[int], None]) -> None: ...


@dataclass(frozen=True)
class Product:
    """A file that is made of a data set's files: `path` below the data folder, `by` the `module:function` that does.

    It is good where it is one of the files known by `sha256`, or an .npz whose parts are whole and whose member
    `origin` names the data set's very files (`DataSet.origin`). The maker is a `Making`.
    """

    path: str
    by: str
    sha256: tuple[str, ...] = ()

    def fault(self, folder: Path, origin: str) -> str | None:
        """What is wrong with the file below `folder`, in a few words; None where it is good."""
        path = folder / self.path
        if not path.is_file():
            return "missing"
        try:
            if self.sha256 and sha256_of(path) in self.sha256:
                return None
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    return "it is damaged"
                return None if _origin_in(archive) == origin else "it was not made of the published files"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        except (zipfile.BadZipFile, zlib.error, ValueError):
            return "it is damaged"

    def make(self, folder: Path, raw: Sequence[Path], origin: str, advance: Callable[[int], None]) -> None:
        """Makes the file below `folder`. Raises InputError where the raw files are not what they should be."""
        module, _, name = self.by.partition(":")
        making: Making = getattr(import_module(module), name)
        making(raw, origin, folder / self.path, advance)


def _origin_in(archive: zipfile.ZipFile) -> str | None:
    """The text of the member `origin`."""
    if "origin.npy" not in archive.namelist():
        return None
    import numpy as np  # nothing else here needs it

    with archive.open("origin.npy") as member:
        return str(np.lib.format.read_array(member, allow_pickle=False))


@dataclass(frozen=True)
class DataSet:
    """Files that belong together, with what they are, their licence and where they come from.

    Beside them there may be a `product`, which is made of `raw` files and of them.
    """

    name: str
    title: str
    licence: str
    source: str
    files: tuple[DataFile, ...]
    raw: tuple[DataFile, ...] = ()
    product: Product | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.parts)

    @property
    def parts(self) -> tuple[DataFile, ...]:
        """All files that a source has: raw ones, then the others."""
        return (*self.raw, *self.files)

    @property
    def folder(self) -> str:
        """The path below the data folder that all files have in common."""
        return os.path.commonpath([os.path.dirname(path) for path in self.paths])

    @property
    def paths(self) -> tuple[str, ...]:
        """What is used, below the data folder: the product where there is one, and the files that are not raw."""
        return (*([self.product.path] if self.product else []), *(file.path for file in self.files))

    @property
    def origin(self) -> str:
        """What a product tells of the files that it was made of: a digest of their names and checksums."""
        listing = "".join(f"{file.path} {file.sha256 or file.git_blob}\n" for file in self.parts)
        return f"{self.source} {hashlib.sha256(listing.encode()).hexdigest()}"

    def count(self, folder: Path) -> int:
        """How many of what is used lie below `folder`, right or wrong."""
        return sum((folder / path).is_file() for path in self.paths)

    def faults(self, folder: Path) -> dict[str, str]:
        """The paths of what is used whose copy below `folder` is missing or wrong, with the fault of each."""
        found = {file.path: file.fault(folder) for file in self.files}
        if self.product:
            found[self.product.path] = self.product.fault(folder, self.origin)
        return {path: fault for path, fault in found.items() if fault is not None}

    def lacking(self, folder: Path) -> list[DataFile]:
        """The files that must be fetched for what is used; no raw ones where their product is as it should be."""
        wanted = self.parts if self.product and self.product.fault(folder, self.origin) else self.files
        return [file for file in wanted if file.fault(folder) is not None]

    def make(self, folder: Path, advance: Callable[[int], None]) -> None:
        """Makes the product of the files below `folder`, unless it stands there already."""
        if self.product and self.product.fault(folder, self.origin):
            self.product.make(folder, [folder / file.path for file in self.parts], self.origin, advance)

    def state(self, folder: Path) -> State:
        """`present`: all as published; `not verified`: all there, some not as published; `partly`; `absent`."""
        there = self.count(folder)
        if there < len(self.paths):
            return "partly" if there or any((folder / file.path).is_file() for file in self.raw) else "absent"
        return "not verified" if self.faults(folder) else "present"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def git_blob_of(path: Path) -> str:
    """Git's id of a file's content, in hex."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def datasets() -> dict[str, DataSet]:
    """Every data set by its name.

    >>> [len(data.parts) for data in datasets().values()]
    [28, 1, 1, 2, 2, 97, 97, 100, 8, 6, 12, 1, 14, 18, 1]
    """
    return {entry["name"]: _dataset(entry) for entry in _content()["datasets"]}


def groups() -> dict[str, tuple[str, ...]]:
    """Names that stand for several data sets.

    >>> groups()["nb201"]
    ('help-latency', 'nats-bench', 'hw-nas-bench-360')
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
    """The name of the data set that has the file at `path` below the data folder. Raises KeyError for none."""
    return {path: data.name for data in datasets().values() for path in data.paths}[path]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        resources.files("modnas_fast.datasets").joinpath("registry.json").read_text(encoding="utf-8")
    )
    return content


def _dataset(entry: dict[str, Any]) -> DataSet:
    files = (
        DataFile(file["path"], file.get("base", entry["base"]) + file["upstream"], file["size"], file["sha256"])
        for file in entry["files"]
    )
    raw = _listed(entry["base"], **entry["raw"]) if "raw" in entry else ()
    made = entry.get("product")
    product = Product(made["path"], made["by"], tuple(made["sha256"])) if made else None
    return DataSet(entry["name"], entry["title"], entry["licence"], entry["source"], tuple(files), raw, product)


def _listed(base: str, list: str, scale: str) -> tuple[DataFile, ...]:
    """The files of one scale in a table of upstream's paths, git blob ids and sizes; they lie side by side."""
    text = resources.files("modnas_fast.datasets").joinpath(list).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return tuple(
        DataFile(f"gpt/raw/{raw_name(path)}", base + path, int(size), git_blob=blob)
        for path, blob, size in rows
        if scale_of(path) == scale
    )


def raw_name(path: str) -> str:
    """The name below `gpt/raw` of a file that upstream has in a folder of its own.

    >>> raw_name("data_collection/raw_results_hw/latency_P100/efficiency_observations_0_2500.pkl")
    'latency_P100+efficiency_observations_0_2500.pkl'
    """
    return "+".join(path.split("/")[-2:])


def scale_of(path: str) -> str:
    """The scale that a raw file of HW-GPT-Bench is of, by the name of its folder.

    >>> [scale_of(f"{folder}/a.pkl") for folder in ("latency_P100", "latency_P100_m", "arch_ppl_bench_s")]
    ['s', 'm', 's']
    """
    ending = path.split("/")[-2].rpartition("_")[2]
    return ending if ending in ("s", "m", "l") else "s"
