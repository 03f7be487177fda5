"""The section `space`: which space it is, and the keys that this one declares for itself."""

from __future__ import annotations

from importlib import import_module
from typing import TypeGuard

from modnas_fast.config.section import SpaceKeys
from modnas_fast.runtime.choices import SPACE_KEYS, SPACES
from modnas_fast.runtime.errors import InputError


def keys_of(name: str) -> type[SpaceKeys]:
    """The model of the keys that the space called `name` declares; without any where it declares none.

    A built-in space has it in a module of its own, which is light to load; a space of one's own is imported.

    Raises InputError for an unknown name, a space that cannot be imported, and keys that are no `SpaceKeys`.

    >>> list(keys_of("nb201").model_fields)[:2]
    ['channels', 'cells']
    """
    if name in SPACE_KEYS:
        module, _, attribute = SPACE_KEYS[name].partition(":")
        keys = getattr(import_module(module), attribute)
    else:
        keys = getattr(SPACES.load(name), "keys", None) or SpaceKeys
    if not (isinstance(keys, type) and issubclass(keys, SpaceKeys)):
        raise SPACES.fault(name, "has keys that are no subclass of modnas_fast.config.SpaceKeys")
    if taken := {"name", "options"}.intersection(keys.model_fields):
        raise SPACES.fault(name, f"has a key called {min(taken)}, which every space has")
    return keys


def known(name: object) -> TypeGuard[str]:
    """Whether a space could be called so; nothing is imported."""
    try:
        return isinstance(name, str) and bool(SPACES.check(name))
    except InputError:
        return False
