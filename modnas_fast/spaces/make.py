"""The search space that a configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modnas_fast.runtime.choices import SPACES
from modnas_fast.spaces.base import SearchSpace


def make_space(name: str, options: Mapping[str, Any] | None = None) -> SearchSpace:
    """The search space called `name`: a built-in one, an entry point of the group `modnas_fast.spaces`, or one named by
    its place, `package.module:Space`.

    `options` are keyword arguments of a user's space. Raises InputError for an unknown name.

    >>> make_space("nb201").num_options
    30
    """
    space = SPACES.find(name, options)()
    if not isinstance(space, SearchSpace):
        raise SPACES.fault(name, f"gives a {type(space).__name__}, no modnas_fast.spaces.SearchSpace")
    return space
