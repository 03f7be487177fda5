"""The task that a configuration names. A further kind of task enters here, in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modnas_fast.config import Config
from modnas_fast.datasets import load_task
from modnas_fast.datasets.look import look_at, named
from modnas_fast.runtime.objective import Objective
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.language import LanguageModelling
from modnas_fast.tasks.make_language import check_language, make_language
from modnas_fast.tasks.make_translation import check_translation, make_translation
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.translation import Translation

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Kind:
    """A kind of task, as `task.kind` names it."""

    #: what loading its data is called
    loading: str
    task: type[Task]
    #: makes it, with the arguments of `make_task`
    make: Callable[[Config, Advance, Path | None], Task]
    #: as `check_task`
    check: Callable[[Config], None]


def _make_images(config: Config, advance: Advance, folder: Path | None) -> ImageClassification:
    options = config.task
    images = load_task(
        named(options.data),
        seed=config.seed,
        limit=options.limit,
        test_limit=options.test_limit,
        resize=options.resize,
        square=config.space.image_side,
        fractions=options.fractions,
        progress=lambda done, total: advance(100 * done // total),
    )
    return ImageClassification(images)


KINDS = {
    "images": Kind("Loading images", ImageClassification, _make_images, lambda config: look_at(config.task.data)),
    "language": Kind("Loading texts", LanguageModelling, make_language, check_language),
    "translation": Kind("Loading pairs of sentences", Translation, make_translation, check_translation),
}


def make_task(config: Config, advance: Advance = lambda percent: None, folder: Path | None = None) -> Task:
    """The task with its data in memory, on the CPU; `advance` is told percents.

    Args:
        config: the run's.
        advance: told how far it is.
        folder: of the run, where what was learned from the data is kept: a task that is made again is the same.

    Raises InputError for data that cannot be used.
    """
    return KINDS[config.task.kind].make(config, advance, folder)


def loading_of_task(config: Config) -> str:
    """What loading the task's data is called."""
    return KINDS[config.task.kind].loading


def quality_of_task(config: Config) -> Objective:
    """The first objective of the task, before its data is loaded."""
    return KINDS[config.task.kind].task.quality


def timed_of_task(config: Config) -> tuple[str, ...]:
    """Costs that this machine can measure of the task's networks, before its data is loaded."""
    return KINDS[config.task.kind].task.timed


def check_task(config: Config) -> None:
    """Raises InputError for what a quick look at the data shows already, before any of it is loaded."""
    KINDS[config.task.kind].check(config)
