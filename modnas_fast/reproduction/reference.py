"""The file of a reference search: networks by the device that they were asked for on, found once and read after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json

REFERENCE_FILE = "reference.json"


def is_found(file: Path, evaluations: int) -> bool:
    """Whether the file has a reference. Raises InputError where it has one of other length."""
    if not file.exists():
        return False
    found = _read(file)
    if found["evaluations"] != evaluations:
        raise InputError(f"{file} is of {found['evaluations']} evaluations, not {evaluations}; delete it")
    return True


def write_reference(file: Path, evaluations: int, networks: dict[str, list[str]]) -> None:
    """Writes what a search asked for with `evaluations` on each device, by rename."""
    write_json(file, {"evaluations": evaluations, "networks": networks})


def reference_networks(file: Path) -> tuple[str, ...]:
    """All networks of a reference, each once. Raises InputError where the file is damaged."""
    return tuple(dict.fromkeys(text for asked in _read(file)["networks"].values() for text in asked))


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(file)
        if not found["networks"] or found["evaluations"] < 1:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} is damaged; delete it to have it made again") from None
    return found
