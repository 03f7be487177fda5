"""The task of a language: texts or tokens at `task.data`, by the vocabulary that is wanted or that the run keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modnas_fast.config import Config
from modnas_fast.datasets.home import VOCABULARY_FILE
from modnas_fast.datasets.texts import EMBEDDED, Corpus, encoded, is_tokens, read_documents
from modnas_fast.datasets.vocabulary import (
    check_choice,
    keep_vocabulary,
    load_vocabulary,
    make_vocabulary,
)
from modnas_fast.runtime.errors import InputError
from modnas_fast.tasks.language import LanguageModelling, divided, split_corpus


def make_language(config: Config, advance: Callable[[int], None], folder: Path | None) -> LanguageModelling:
    """The task; arguments as of `make_task`."""
    options, corpus = config.task, _corpus(config, advance, folder)
    return split_corpus(corpus, options.fractions, config.seed, options.context, options.limit, options.test_limit)


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


def check_language(config: Config) -> None:
    """Raises InputError for texts that are not there, and a vocabulary that cannot be had or does not fit."""
    name, vocabulary = _texts_named(config), config.task.vocabulary
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
