"""The task that a configuration names, of a built-in kind or one's own. A further kind enters here, in `KINDS`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from modnas_fast.config import Config
from modnas_fast.datasets import load_task
from modnas_fast.datasets.look import look_at, named
from modnas_fast.runtime.choices import TASKS
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.language import LanguageModelling
from modnas_fast.tasks.make_language import check_language, make_language
from modnas_fast.tasks.make_translation import check_translation, make_translation
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.task_objective import network_arguments
from modnas_fast.tasks.tensor_task import TensorTask
from modnas_fast.tasks.translation import Translation

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Kind:
    """A kind of task, as `task.kind` names it."""

    #: what loading its data is called
    loading: str
    #: what tells its quality and costs; one's own is made already
    task: type[Task] | Task
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


@lru_cache(maxsize=1)
def _own(name: str, options: str) -> Task:
    """A task of one's own, made once: its data may be large."""
    task = TASKS.find(name, json.loads(options))()
    if not isinstance(task, Task):
        raise TASKS.fault(name, f"gives a {type(task).__name__}; wanted a task, such as modnas_fast.elastic.TensorTask")
    return task


def _kind(config: Config) -> Kind:
    options = config.task
    if options.kind in KINDS:
        return KINDS[options.kind]
    task = _own(options.kind, json.dumps(options.options, sort_keys=True))
    return Kind("Loading data", task, lambda *_: task, lambda config: None)


def check_network(config: Config, space: SearchSpace) -> None:
    """Raises InputError where networks of the space do not fit a task of one's own."""
    task = _kind(config).task
    if isinstance(task, TensorTask):
        task.check_network(space.build(space.parse(space.references[0]), **network_arguments(config, task)))


def make_task(config: Config, advance: Advance = lambda percent: None, folder: Path | None = None) -> Task:
    """The task with its data in memory, on the CPU; `advance` is told percents.

    Args:
        config: the run's.
        advance: told how far it is.
        folder: of the run, where what was learned from the data is kept: a task that is made again is the same.

    Raises InputError for data that cannot be used.
    """
    return _kind(config).make(config, advance, folder)


def loading_of_task(config: Config) -> str:
    """What loading the task's data is called."""
    return _kind(config).loading


def quality_of_task(config: Config) -> Objective:
    """The first objective of the task, before its data is loaded."""
    return _kind(config).task.quality


def timed_of_task(config: Config) -> tuple[str, ...]:
    """Costs that this machine can measure of the task's networks, before its data is loaded."""
    return _kind(config).task.timed


def check_task(config: Config) -> None:
    """Raises InputError for what a quick look at the data shows already, before any of it is loaded."""
    _kind(config).check(config)
