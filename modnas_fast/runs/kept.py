"""Outcomes of stages, kept in a run's folder so that a killed run continues where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json


def once(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `compute` returned, with the seconds it took: from the file, where an earlier process left it."""
    if not path.exists():
        start = time.monotonic()
        content = compute()
        write_json(path, {"seconds": time.monotonic() - start, **content})
    return read_kept(path)


def read_kept(path: Path) -> dict[str, Any]:
    """The outcome of a stage, as it was left in the folder. Raises InputError where the file is damaged."""
    try:
        content: dict[str, Any] = read_json(path)
        return content
    except ValueError:
        raise damaged(path) from None


def damaged(path: Path) -> InputError:
    """What is told of a file that cannot be used."""
    return InputError(f"{path} is damaged; delete it to repeat its stage")
