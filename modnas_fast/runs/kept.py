"""Outcomes of stages, kept in a run's folder so that a killed run continues where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.runtime.ranks import Ranks


def once(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `compute` returned, with the seconds it took: from the file, where an earlier process left it."""
    if not path.exists():
        start = time.monotonic()
        content = compute()
        write_json(path, {"seconds": time.monotonic() - start, **content})
    return read_kept(path)


def once_together(path: Path, compute: Callable[[], dict[str, Any]], ranks: Ranks) -> dict[str, Any]:
    """As `once`, where all ranks compute together; rank 0 alone sees the file."""
    if ranks.from_first(lambda: not path.exists()) and not ranks.first:
        compute()
    return ranks.from_first(lambda: once(path, compute))


def read_kept(path: Path) -> dict[str, Any]:
    """The outcome of a stage, as it was left in the folder. Raises InputError where the file is damaged."""
    with undamaged(path):
        content: dict[str, Any] = read_json(path)
        _ = content["seconds"]  # of every stage
    return content


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Within the block, what a file cannot have held if it is whole is told as damage."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path} is damaged; delete it to repeat its stage") from None
