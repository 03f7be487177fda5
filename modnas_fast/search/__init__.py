"""The search: the bilevel loop, the refinement, the spread of networks that w is trained on, history."""

from modnas_fast.search.bilevel import Search, initial_hypernet
from modnas_fast.search.history import History

__all__ = ["History", "Search", "initial_hypernet"]
