"""Search spaces: data and rules, no training code."""

from collections.abc import Mapping
from typing import Any

from modnas_fast.runtime.choices import SPACES
from modnas_fast.spaces.base import Architecture, Choice, Graph, SearchSpace
from modnas_fast.spaces.nb201 import NB201Space

__all__ = ["Architecture", "Choice", "Graph", "NB201Space", "SearchSpace", "make_space"]


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
