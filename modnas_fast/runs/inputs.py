"""What the stages of a run rest on, each made from the configuration when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from modnas_fast.config import Config
from modnas_fast.config.presets import OWN_IMAGES
from modnas_fast.devices import MeasurementCache, Profiler, fingerprint
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.devices.machine_costs import LATENCY
from modnas_fast.devices.measure import Timing, normals_of
from modnas_fast.method.region import Region, regions_by_device
from modnas_fast.runs.sources import check_quality, find_truth, make_source
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective, costs_of
from modnas_fast.runtime.placement import search_device
from modnas_fast.runtime.progress import Reporter
from modnas_fast.search.shrinking import Shrinking
from modnas_fast.search.spread import ends_of
from modnas_fast.spaces import SearchSpace, make_space
from modnas_fast.spaces.published import Truth
from modnas_fast.tasks.make import check_network, check_task, loading_of_task, make_task, quality_of_task, timed_of_task
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.task_objective import network_arguments


class Inputs:
    """Space, source of costs, task and truth of a run.

    Args:
        config: the run's.
        reporter: where loading is told.
        remeasure: forget this machine's cached measurements first.
        folder: gives the run's, once there is one; what is learned from the data is kept there.
    """

    def __init__(
        self,
        config: Config,
        reporter: Reporter,
        remeasure: bool,
        folder: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self.config = config
        self._folder = folder
        self.space: SearchSpace = make_space(config.space.name, config.space.arguments)
        self._reporter = reporter
        self._remeasure = remeasure

    def check(self) -> None:
        """Raises InputError for what a quick look at the inputs shows: minutes of measuring shall not come first."""
        if self.trains:
            self._check_named()
            self._check_files()
            self._check_weights()
            if self.config.search.sandwich:
                ends_of(self.space)
            if self.config.search.shrinking is not None:
                Shrinking(self.space, self.config.search.shrinking)
        check_quality(self.config, self.quality)
        _ = self.source, self.regions
        if self.trains:
            _ = self.device
            check_task(self.config)
            check_network(self.config, self.space)

    def _check_weights(self) -> None:
        """Raises InputError where weights stand still that were never trained."""
        space = self.config.space
        if not (self.config.search.train_weights or space.files or space.options or self.space.begins_trained):
            raise InputError(
                f"search.train_weights: false wants trained weights, and {space.name} begins with random ones; make "
                "the space by elastic.from_module or of a model, or set begins_trained of a space of your own"
            )

    def _check_named(self) -> None:
        options, published = self.config.task, self.space.published
        if options.table is not None and published and options.data in (OWN_IMAGES, "digits"):
            raise InputError(
                f"--data: with task.table, the supernet wants the images of {options.table}{published.hint}"
            )

    def _check_files(self) -> None:
        for key, path in self.config.space.files.items():
            if not Path(path).is_file():
                raise InputError(f"space.{key}: {path} does not exist")

    @cached_property
    def source(self) -> CostSource:
        """Of the costs, not begun."""
        timed = timed_of_task(self.config) if self.trains else (LATENCY,)
        return make_source(self.config, self.space, self.profiler, lambda: self.network, timed)

    @cached_property
    def truth(self) -> Truth | None:
        """What judges the answer; None where nothing is known."""
        return find_truth(self.config, self.space)

    @property
    def has_benchmark(self) -> bool:
        """Whether qualities and costs of all networks are known, or judged, and a table's front stands beside them."""
        judged = self.source.judges and not self.source.by_rows
        return self.truth is not None and (self.source.complete or (judged and self.truth.judge is not None))

    @property
    def trains(self) -> bool:
        """Whether there are weights w to train."""
        return self.config.task.source == "supernet"

    @property
    def quality(self) -> Objective:
        """The first objective."""
        return self.truth.quality if self.truth else quality_of_task(self.config)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The quality, then costs."""
        return (self.quality, *costs_of(self.source.metrics))

    @cached_property
    def regions(self) -> dict[str, tuple[Region, ...]]:
        """By device, the parts of its front that count more; none where all do."""
        return regions_by_device(self.config.preferences.regions, list(self.source.splits), self.objectives)

    @property
    def measures(self) -> bool:
        """Whether this machine is measured."""
        return "measured" in self.source.kinds.values()

    @cached_property
    def device(self) -> torch.device:
        """Where weights are trained and images classified."""
        return search_device(self.config.search.device)

    @cached_property
    def task(self) -> Task:
        """With its data in memory. Raises InputError where it is not the task of the truth."""
        with self._reporter.stage(loading_of_task(self.config), 100) as advance:
            task = make_task(self.config, advance, self._folder())
        for note in task.notes:
            self._reporter.say(f"  note: {note}")
        if self.truth is not None and task.chance != self.truth.chance:
            raise InputError(
                f"--data: {task.name} has {task.network['classes']} classes, {self.truth.task} has "
                f"{self.truth.network['classes']}; give its images or another task.table"
            )
        return task

    @property
    def _told(self) -> dict[str, Any]:
        """What the task tells networks of itself."""
        if self.trains:
            return self.task.network
        assert self.truth is not None, "a surrogate has a truth"
        return self.truth.network

    @property
    def network(self) -> dict[str, Any]:
        """What `space.build` and `space.analytic` are told."""
        return network_arguments(self.config, self._told)

    @property
    def _family(self) -> dict[str, object]:
        """What measurements depend on beside the machine."""
        return {"space": self.config.space.name, "options": self.config.space.arguments, **self.network}

    def _cache(self, family: dict[str, object]) -> MeasurementCache:
        cache = MeasurementCache(fingerprint(), family, note=lambda line: self._reporter.say(f"  note: {line}"))
        if self._remeasure:
            cache.clear()
        return cache

    def step_cache(self) -> MeasurementCache:
        """Keeps how long steps of w take on this machine, on as many threads as torch uses now."""
        batch, threads = self.config.search.batch_size, torch.get_num_threads()
        return self._cache({**self._family, "step": {"batch": batch, "threads": threads}})

    def profiler(self, cost: str) -> Profiler:
        """What measures a cost of this machine; costs that are measured share the minutes."""
        timing = self.task.timing(cost) if self.trains else Timing(normals_of(self._told["input_shape"]))
        family = {**self._family, **({"timed": timing.part} if timing.part else {})}
        cache = self._cache(family)
        cache.try_writing()
        options = self.config.devices
        minutes = options.minutes / list(self.source.kinds.values()).count("measured")
        return Profiler(
            self.space, self.network, timing.inputs, cache, options.repeats, minutes, prepare=timing.prepare
        )
