"""Tasks to search on (the embedded digits, or a user's own images), and the benchmark data that can be fetched."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.datasets.home import data_home, locate
    from modnas_fast.datasets.load import load_task
    from modnas_fast.datasets.stream import BatchStream
    from modnas_fast.datasets.task import ImageTask, Split
    from modnas_fast.datasets.vocabulary import Vocabulary, load_vocabulary

__all__ = ["BatchStream", "ImageTask", "Split", "Vocabulary", "data_home", "load_task", "load_vocabulary", "locate"]

__getattr__ = names_from(  # fetching data needs no torch
    __name__,
    {
        "BatchStream": "modnas_fast.datasets.stream",
        "ImageTask": "modnas_fast.datasets.task",
        "Split": "modnas_fast.datasets.task",
        "Vocabulary": "modnas_fast.datasets.vocabulary",
        "data_home": "modnas_fast.datasets.home",
        "load_task": "modnas_fast.datasets.load",
        "load_vocabulary": "modnas_fast.datasets.vocabulary",
        "locate": "modnas_fast.datasets.home",
    },
)
