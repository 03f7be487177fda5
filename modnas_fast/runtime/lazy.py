"""Public names of a room that are loaded when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from modnas_fast.runtime.extras import named_extras


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` that finds each name of `homes` in its module, so that importing loads nothing heavy.

    A name whose home is the package's own module of that name is that module.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with named_extras():
            module = import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    return find
