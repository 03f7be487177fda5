"""Search spaces: data and rules, no training code."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.spaces.architecture import Architecture, Choice
    from modnas_fast.spaces.base import Graph, SearchSpace
    from modnas_fast.spaces.make import make_space
    from modnas_fast.spaces.nb201 import NB201Space

__all__ = ["Architecture", "Choice", "Graph", "NB201Space", "SearchSpace", "make_space"]

# not at once: a configuration asks the folders below for their keys, and loads no torch
__getattr__ = names_from(
    __name__,
    {
        "Architecture": "modnas_fast.spaces.architecture",
        "Choice": "modnas_fast.spaces.architecture",
        "Graph": "modnas_fast.spaces.base",
        "NB201Space": "modnas_fast.spaces.nb201",
        "SearchSpace": "modnas_fast.spaces.base",
        "make_space": "modnas_fast.spaces.make",
    },
)
