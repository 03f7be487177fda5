"""Tasks to search on (the embedded digits, or a user's own images), and the benchmark data that can be fetched."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.datasets.home import data_home, locate
    from modnas_fast.datasets.load import load_task
    from modnas_fast.datasets.stream import BatchStream
    from modnas_fast.datasets.task import ImageTask, Split

__all__ = ["BatchStream", "ImageTask", "Split", "data_home", "load_task", "locate"]

__getattr__ = names_from(  # fetching data needs no torch
    __name__,
    {
        "BatchStream": "modnas_fast.datasets.stream",
        "ImageTask": "modnas_fast.datasets.task",
        "Split": "modnas_fast.datasets.task",
        "data_home": "modnas_fast.datasets.home",
        "load_task": "modnas_fast.datasets.load",
        "locate": "modnas_fast.datasets.home",
    },
)
