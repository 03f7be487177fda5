"""What lies in official benchmark files: loaded without running any of it, and looked up with clear errors."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from modnas_fast.datasets.unpickle import ALLOWED, load_plain
from modnas_fast.runtime.errors import InputError


def load(source: Path) -> Any:
    """The plain value in a file: bz2 pickle, torch file (.pth, .pt) or pickle. Raises InputError for all else.

    A torch file is read by torch's own restricted reader, with NumPy's numbers as in `unpickle`.
    """
    try:
        with open(source, "rb") as file:
            start = file.read(3)
    except FileNotFoundError:
        raise InputError(f"FILE: {source} does not exist") from None
    if start == b"BZh":
        with bz2.open(source) as file:
            return load_plain(file, str(source))
    if source.suffix in (".pth", ".pt"):
        return _load_torch(source)
    with open(source, "rb") as file:
        return load_plain(file, str(source))


def _load_torch(source: Path) -> Any:
    import torch

    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (function, ".".join(name)) for name, function in ALLOWED.items() if name[0].startswith("numpy")
    ]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(source, map_location="cpu", weights_only=True)
    except UnpicklingError:  # torch's own text recommends to trust the file
        raise InputError(f"{source} is refused: it holds more than plain data and tensors") from None
    except (RuntimeError, EOFError, InputError):
        raise InputError(f"{source} is no readable torch file") from None


def list_of(label: str, value: Any) -> list[Any]:
    """The value, which must be a list that is not empty."""
    if not isinstance(value, list) or not value:
        raise InputError(f"{label}: wanted a list, got {type(value).__name__ if value else 'nothing'}")
    return value


def number(label: str, value: Any) -> float:
    """The value, which must be a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{label}: wanted a number, got {type(value).__name__}")
    return float(value)


def look_up(label: str, value: Any, *keys: Any) -> Any:
    """value[key][key]…; raises InputError that names the first key which is not there.

    >>> look_up("file", {"a": [5, 6]}, "a", 1)
    6
    """
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            raise InputError(
                f"{label}: no {key!r} in it; wanted NATS-Bench (topology), NAS-Bench-201 v1.1 or HW-NAS-Bench"
            ) from None
    return value


def check_architectures(label: str, names: Sequence[str]) -> None:
    """Raises InputError for the first name that is no architecture string of NAS-Bench-201."""
    from modnas_fast.spaces import NB201Space

    space = NB201Space()
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{label}: wanted architecture strings, got {name!r}")
        try:
            space.parse(name)
        except InputError as error:
            raise InputError(f"{label}: {error}") from None
