"""What the first objective is: a task and its quality, told by shared weights, by training alone, or by a surrogate."""

from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.language import LanguageModelling
from modnas_fast.tasks.task import Batch, Part, Stream, Task
from modnas_fast.tasks.training import network_quality, train_network

__all__ = [
    "Batch",
    "ImageClassification",
    "LanguageModelling",
    "Part",
    "Stream",
    "Task",
    "network_quality",
    "train_network",
]
