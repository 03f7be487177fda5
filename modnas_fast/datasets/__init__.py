"""Tasks to search on (the embedded digits, or a user's own images), and the benchmark data that can be fetched."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modnas_fast.datasets.home import data_home, locate
    from modnas_fast.datasets.load import load_task
    from modnas_fast.datasets.stream import BatchStream
    from modnas_fast.datasets.task import ImageTask, Split

__all__ = ["BatchStream", "ImageTask", "Split", "data_home", "load_task", "locate"]

_HOMES = {
    "BatchStream": "modnas_fast.datasets.stream",
    "ImageTask": "modnas_fast.datasets.task",
    "Split": "modnas_fast.datasets.task",
    "data_home": "modnas_fast.datasets.home",
    "load_task": "modnas_fast.datasets.load",
    "locate": "modnas_fast.datasets.home",
}


def __getattr__(name: str) -> Any:
    """Public names on first use: fetching data needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
