"""Tasks to search on: the embedded digits, or a user's own images from folders and parquet files."""

from modnas_fast.datasets.load import load_task
from modnas_fast.datasets.stream import BatchStream
from modnas_fast.datasets.task import ImageTask, Split

__all__ = ["BatchStream", "ImageTask", "Split", "load_task"]
