"""The task of translating the pairs of sentences at `task.data`, by one vocabulary of both languages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modnas_fast.config import Config
from modnas_fast.datasets.home import VOCABULARY_FILE
from modnas_fast.datasets.pairs import read_pairs
from modnas_fast.datasets.vocabulary import (
    check_choice,
    keep_vocabulary,
    load_vocabulary,
    make_vocabulary,
)
from modnas_fast.runtime.errors import InputError
from modnas_fast.tasks.translation import Translation, divided_pairs, translation_of


def make_translation(config: Config, advance: Callable[[int], None], folder: Path | None) -> Translation:
    """The task; arguments as of `make_task`. Where none is asked for, tokens are bytes."""
    options = config.task
    pairs = read_pairs(_pairs_named(config), options.languages)
    parts = divided_pairs(pairs, options.fractions, config.seed)
    if folder is not None and (folder / VOCABULARY_FILE).exists():
        words = load_vocabulary(folder)
    else:
        training = [text for pair in parts["train"] for text in pair]
        words = make_vocabulary(options.vocabulary or "bytes", training)
    if folder is not None:
        keep_vocabulary(folder, words)
    return translation_of(pairs, parts, words, options.context, options.limit, options.test_limit, advance)


def check_translation(config: Config) -> None:
    """Raises InputError for pairs that are not there, and a vocabulary that cannot be had."""
    if not Path(_pairs_named(config)).exists():
        raise InputError(f"data: {_pairs_named(config)} does not exist")
    check_choice(config.task.vocabulary or "bytes")


def _pairs_named(config: Config) -> str:
    if config.task.data in (None, "digits"):
        raise InputError(
            "--data: translation wants pairs of sentences: a folder with files such as train.en and train.de, a "
            "tab-separated file or parquet"
        )
    return str(config.task.data)
