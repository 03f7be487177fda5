"""The answer of a run: its folder, what result.json holds, and the queries that it answers."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.result.result import Pick, Result

__all__ = ["Pick", "Result"]

__getattr__ = names_from(__name__, dict.fromkeys(__all__, "modnas_fast.result.result"))
