"""The file answers.npz of a finished run: what it holds, and reading it with NumPy alone. See docs/answers.md."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing

if TYPE_CHECKING:
    from modnas_fast.devices.cost_source import Source

FORMAT = "modnas-fast answers"
#: raised where a member changes its meaning; further members may come without
VERSION = 1
#: what the numbers of `source` stand for
SOURCES: tuple[Source, ...] = ("measured", "tabulated", "exact", "predicted", "judged")

Array = np.ndarray[Any, Any]


class AnswersFile:
    """The header and the arrays of an open answers.npz; an array is read when it is first asked for."""

    def __init__(self, file: Any, header: dict[str, Any], path: Path | None = None) -> None:
        self._file = file
        self._path = path
        self.header = header
        self._read: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._read:
            try:
                self._read[name] = self._file[name]
            except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
                where = f"{self._path} is damaged ({name})"
                raise InputError(f"{where}; delete it, and modnas-fast report makes it again") from None
        return self._read[name]

    def __contains__(self, name: str) -> bool:
        return name in self._file


def stamp_of(result: bytes) -> list[int]:
    """What tells one result.json from another: its length and CRC-32."""
    return [len(result), zlib.crc32(result)]


def open_answers(path: Path, result: bytes) -> AnswersFile | None:
    """The file, if it is there, whole, of this version, and made of this result.json; else None."""
    try:
        file = np.load(path, allow_pickle=False)
        header = json.loads(str(file["header"]))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    fits = header.get("format") == FORMAT and header.get("version") == VERSION
    return AnswersFile(file, header, path) if fits and header.get("result") == stamp_of(result) else None


def save_answers(path: Path, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Writes the file by rename; `header` is told format and version."""
    whole = {"format": FORMAT, "version": VERSION, **header}
    text = np.array(json.dumps(whole, ensure_ascii=False, allow_nan=False))
    with replacing(path) as temporary, temporary.open("wb") as file:
        members: dict[str, Any] = {"header": text, **arrays}
        np.savez_compressed(file, **members)
