"""The task that a configuration names: classification of the images, or the language of the texts, at `task.data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modnas_fast.config import Config
from modnas_fast.datasets import load_task
from modnas_fast.datasets.home import VOCABULARY_FILE
from modnas_fast.datasets.look import look_at, named
from modnas_fast.datasets.texts import EMBEDDED, Corpus, encoded, is_tokens, read_documents
from modnas_fast.datasets.vocabulary import (
    check_choice,
    keep_vocabulary,
    load_vocabulary,
    make_vocabulary,
)
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.language import LanguageModelling, divided, split_corpus
from modnas_fast.tasks.task import Task

#: what loading the data is called, by kind of task
LOADING = {"images": "Loading images", "language": "Loading texts"}


def make_task(
    config: Config, advance: Callable[[int], None] = lambda percent: None, folder: Path | None = None
) -> Task:
    """The task with its data in memory, on the CPU; `advance` is told percents.

    Args:
        config: the run's.
        advance: told how far it is.
        folder: of the run, where what was learned from the data is kept: a task that is made again is the same.

    Raises InputError for data that cannot be used.
    """
    options = config.task
    if options.kind == "language":
        corpus = _corpus(config, advance, folder)
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


def _corpus(config: Config, advance: Callable[[int], None], folder: Path | None) -> Corpus:
    """The tokens of the texts that are named, by the vocabulary that the run keeps."""
    found, options = read_documents(_texts_named(config)), config.task
    if isinstance(found, Corpus):
        corpus = found
    elif folder is not None and (folder / VOCABULARY_FILE).exists():
        corpus = encoded(found, load_vocabulary(folder), advance)
    else:
        places = divided(found.sizes, options.fractions, config.seed)["train"]
        vocabulary = make_vocabulary(options.vocabulary or "bytes", [found.documents[place] for place in places])
        corpus = encoded(found, vocabulary, advance)
    if folder is not None and corpus.words is not None:
        keep_vocabulary(folder, corpus.words)
    return corpus


def quality_of_task(config: Config) -> Objective:
    """The first objective of the task, before its data is loaded."""
    return (LanguageModelling if config.task.kind == "language" else ImageClassification).quality


def timed_of_task(config: Config) -> tuple[str, ...]:
    """Costs that this machine can measure of the task's networks, before its data is loaded."""
    return (LanguageModelling if config.task.kind == "language" else ImageClassification).timed


def check_task(config: Config) -> None:
    """Raises InputError for what a quick look at the data shows already, before any of it is loaded."""
    if config.task.kind == "images":
        look_at(config.task.data)
    else:
        _check_texts(_texts_named(config), config.task.vocabulary)


def _check_texts(name: str, vocabulary: str | int | None) -> None:
    if name != EMBEDDED and not Path(name).exists():
        raise InputError(f"data: {name} does not exist")
    if name == EMBEDDED or not is_tokens(Path(name)):
        check_choice(vocabulary or "bytes")
    elif vocabulary not in (None, "gpt2"):
        raise InputError(
            f"task.vocabulary: {name} holds tokens of GPT-2 already; leave it out, or give texts, got {vocabulary}"
        )


def _texts_named(config: Config) -> str:
    if config.task.data in (None, "digits"):
        raise InputError(f"--data: language wants texts: a file or folder, or {EMBEDDED}, which is embedded")
    return str(config.task.data)
