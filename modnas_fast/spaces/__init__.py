"""Search spaces: data and rules, no training code."""

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.base import Architecture, Choice, Graph, SearchSpace
from modnas_fast.spaces.nb201 import NB201Space

__all__ = ["Architecture", "Choice", "Graph", "NB201Space", "SearchSpace", "make_space"]

_SPACES = {NB201Space.name: NB201Space}


def make_space(name: str) -> SearchSpace:
    """The search space called `name`.

    >>> make_space("nb201").num_options
    30
    """
    if name not in _SPACES:
        raise InputError(f"space: unknown space {name!r}; available: {', '.join(_SPACES)}")
    return _SPACES[name]()
