"""The answer of a run: its folder, what result.json holds, and the queries that it answers."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.result.answers import Pick
    from modnas_fast.result.result import Result
    from modnas_fast.result.tables import tables_of

__all__ = ["Pick", "Result", "tables_of"]

__getattr__ = names_from(
    __name__,
    {
        "Pick": "modnas_fast.result.answers",
        "Result": "modnas_fast.result.result",
        "tables_of": "modnas_fast.result.tables",
    },
)
