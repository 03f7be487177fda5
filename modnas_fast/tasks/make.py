"""The task that a configuration names: classification of the images, or the language of the texts, at `task.data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modnas_fast.config import Config
from modnas_fast.datasets import load_task
from modnas_fast.datasets.look import look_at, named
from modnas_fast.datasets.texts import EMBEDDED, read_corpus
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.language import LanguageModelling, split_corpus
from modnas_fast.tasks.task import Task

#: what loading the data is called, by kind of task
LOADING = {"images": "Loading images", "language": "Loading texts"}


def make_task(config: Config, advance: Callable[[int], None] = lambda percent: None) -> Task:
    """The task with its data in memory, on the CPU; `advance` is told percents.

    Raises InputError for data that cannot be used.
    """
    options = config.task
    if options.kind == "language":
        corpus = read_corpus(_texts_named(config))
        return split_corpus(corpus, options.fractions, config.seed, options.context, options.limit, options.test_limit)
    images = load_task(
        named(options.data),
        seed=config.seed,
        limit=options.limit,
        test_limit=options.test_limit,
        resize=options.resize,
        fractions=options.fractions,
        progress=lambda done, total: advance(100 * done // total),
    )
    return ImageClassification(images)


def quality_of_task(config: Config) -> Objective:
    """The first objective of the task, before its data is loaded."""
    return (LanguageModelling if config.task.kind == "language" else ImageClassification).quality


def check_task(config: Config) -> None:
    """Raises InputError for what a quick look at the data shows already, before any of it is loaded."""
    if config.task.kind == "images":
        look_at(config.task.data)
    elif _texts_named(config) != EMBEDDED and not Path(_texts_named(config)).exists():
        raise InputError(f"data: {_texts_named(config)} does not exist")


def _texts_named(config: Config) -> str:
    if config.task.data in (None, "digits"):
        raise InputError(f"--data: language wants texts: a file or folder, or {EMBEDDED}, which is embedded")
    return str(config.task.data)
