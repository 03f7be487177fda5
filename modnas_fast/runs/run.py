"""One run from start to answer: prepare, predict, search, evaluate, verify, report.

It is the same whatever the costs come from (this machine, a table, formulas), whatever the task objective is (shared
weights or a surrogate), and whether a truth is known that judges the answer. Every stage leaves its outcome in the
run's folder by rename (see `result.folder`), and a stage whose outcome is there is not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.baselines import random_architectures
from modnas_fast.config import Config, with_absolute_paths
from modnas_fast.config.presets import OWN_IMAGES
from modnas_fast.devices import Device, MeasurementCache, Profiler, fingerprint, threads_restored
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.devices.measure import zeros_of
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.fronts import Bounds, Point, front
from modnas_fast.evaluation.verify import choose_spread
from modnas_fast.result import Result
from modnas_fast.result.content import (
    common_bounds,
    compose_history,
    device_entry,
    objectives_on,
    plain_points,
    points_of,
    result_content,
    verified_entry,
)
from modnas_fast.result.folder import (
    CHECKPOINT_FILE,
    COSTS_FILE,
    EVALUATION_FILE,
    HISTORY_FILE,
    HYPERNETWORK_FILE,
    MEASUREMENTS_FILE,
    PREDICTOR_FILE,
    QUALITY_FILE,
    RESULT_FILE,
    SUPERNET_FILE,
    TABLE_FILE,
    VERIFICATION_FILE,
)
from modnas_fast.result.kept_table import keep_table
from modnas_fast.runs.forecast import foresee
from modnas_fast.runs.judging import predictor_entries
from modnas_fast.runs.kept import damaged, once, read_kept
from modnas_fast.runs.preparation import Preparation, Prepared
from modnas_fast.runs.searching import Answer, search_on, start
from modnas_fast.runs.sources import check_quality, find_truth, make_source
from modnas_fast.runtime.allocator import keep_freed_memory
from modnas_fast.runtime.checkpoint import load_weights, save_weights
from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.lock import locked
from modnas_fast.runtime.objective import Objective, costs_of
from modnas_fast.runtime.placement import search_device
from modnas_fast.runtime.progress import Reporter, Silent, behind
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.spaces import make_space
from modnas_fast.spaces.published import CostTable, Truth
from modnas_fast.tasks.make import check_task, make_task, quality_of_task
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.task_objective import SupernetObjective, network_arguments
from modnas_fast.tasks.training import train_network

#: seconds from which on a run is told how to be made shorter
LONG_RUN = 1800


class Run:
    """The stages of one run in its folder.

    Args:
        folder: made by `result.folder.create_run`, before `execute`.
        config: its configuration.
        reporter: where progress is told; silent by default.
        stopper: asked after each search step whether to stop; a checkpoint is written first.
        remeasure: forget this machine's cached measurements first.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        reporter: Reporter | None = None,
        stopper: Stopper | None = None,
        remeasure: bool = False,
    ) -> None:
        self.folder = folder
        self.config = with_absolute_paths(config)
        self._reporter: Reporter = reporter or Silent()
        self._stopper = stopper or Stopper()
        self._remeasure = remeasure
        self._space = make_space(config.space.name, config.space.options)
        self._checked = False
        #: why `execute` could write no report, in one line; the result stands without one
        self.report_fault: str | None = None

    def execute(self) -> Result:
        """Runs what is missing and returns the result; the report stands in the folder too, or see `report_fault`.

        Raises InputError for input that cannot be used, and where another process works in the folder.
        """
        with locked(self.folder):
            self._reporter.say(f"Run folder: {self.folder}")
            if not (self.folder / RESULT_FILE).exists():
                self.check()
                write_json(self.folder / RESULT_FILE, self._run_stages())
            result = Result.load(self.folder)
            self._report()
        return result

    def check(self) -> None:
        """Raises InputError for what a quick look at the inputs shows: minutes of measuring shall not come first."""
        if self._checked:
            return
        check_quality(self.config, self._quality)
        _ = self._source
        if self._trains:
            _ = self._device
            self._check_named()
            check_task(self.config)
        self._checked = True

    def _check_named(self) -> None:
        if self._truth is not None and self.config.task.data in (OWN_IMAGES, "digits"):
            raise InputError(
                f"--data: with task.table, the supernet wants the images of {self._truth.task} (`modnas-fast data "
                "fetch cifar10` brings CIFAR-10); --preset nb201 searches without images"
            )

    def _report(self) -> None:
        try:
            from modnas_fast.report import write_report

            with self._reporter.stage("Writing the report", 1):
                write_report(self.folder)
        except Exception as error:  # whatever it is, hours of search are not lost for it
            self.report_fault = one_line(error)

    def _run_stages(self) -> dict[str, Any]:
        """The content of result.json."""
        self._foresee()
        self._begin()
        with self._search_threads():
            prepared = self._prepare()
            answer = self._search(prepared)
            evaluation = once(self.folder / EVALUATION_FILE, lambda: self._evaluate(answer))
            verification = self._verify(evaluation, prepared.devices)
        self._finish(evaluation, prepared.devices)
        return self._compose(answer, evaluation, verification)

    # ---- what the stages rest on ----

    @cached_property
    def _source(self) -> CostSource:
        return make_source(self.config, self._space, self._profiler, lambda: self._network)

    @cached_property
    def _truth(self) -> Truth | None:
        return find_truth(self.config, self._space)

    @property
    def _trains(self) -> bool:
        """Whether there are weights w to train."""
        return self.config.task.source == "supernet"

    @property
    def _quality(self) -> Objective:
        """The first objective."""
        return self._truth.quality if self._truth else quality_of_task(self.config)

    @property
    def _measures(self) -> bool:
        """Whether this machine is measured."""
        return "measured" in self._source.kinds.values()

    @cached_property
    def _device(self) -> torch.device:
        """Where weights are trained and images classified."""
        return search_device(self.config.search.device)

    @cached_property
    def _task(self) -> Task:
        with self._reporter.stage("Loading images", 100) as advance:
            task = make_task(self.config, advance)
        for note in task.notes:
            self._reporter.say(f"  note: {note}")
        if self._truth is not None and task.chance != self._truth.chance:
            raise InputError(
                f"--data: {task.name} has {task.network['classes']} classes, {self._truth.task} has "
                f"{self._truth.network['classes']}; give its images or another task.table"
            )
        return task

    @property
    def _told(self) -> dict[str, Any]:
        """What the task tells networks of itself."""
        if self._trains:
            return self._task.network
        assert self._truth is not None, "a surrogate has a truth"
        return self._truth.network

    @property
    def _network(self) -> dict[str, Any]:
        """What `space.build` and `space.analytic` are told."""
        return network_arguments(self.config, self._told)

    def _profiler(self) -> Profiler:
        family: dict[str, object] = {"space": self._space.name, **self._network}
        cache = MeasurementCache(fingerprint(), family, note=lambda line: self._reporter.say(f"  note: {line}"))
        if self._remeasure:
            cache.clear()
        cache.try_writing()
        options = self.config.devices
        inputs = self._task.inputs if self._trains else zeros_of(self._told["input_shape"])
        return Profiler(self._space, self._network, inputs, cache, options.repeats, options.minutes)

    @contextmanager
    def _search_threads(self) -> Iterator[None]:
        """The CPU threads that `search.threads` asks for, until the end of the context."""
        with threads_restored():
            if self.config.search.threads is not None:
                torch.set_num_threads(self.config.search.threads)
            yield

    def _foresee(self) -> None:
        """Tells what a new search will take, and refuses it where there is too little memory."""
        if not self._trains or (self.folder / CHECKPOINT_FILE).exists():
            return
        splits = list(self._source.splits.values())
        with self._search_threads():
            forecast = foresee(
                self._as_verified, self._space, self._task, splits.count("search"), splits.count("unseen")
            )
        self._reporter.say(f"Expected behind the measuring, about: {forecast}")
        if sum(forecast) > LONG_RUN:
            self._reporter.say(
                "  it grows with task.resize, task.limit, space.channels, search.steps, search.warmup_steps and "
                "search.refine_networks"
            )

    @property
    def _as_verified(self) -> Config:
        """The configuration, without a verification where the truth is known."""
        if self._truth is None:
            return self.config
        return self.config.model_copy(update={"verify": self.config.verify.model_copy(update={"networks": 0})})

    # ---- prepare and predict ----

    @property
    def _measurements(self) -> Path:
        return self.folder / MEASUREMENTS_FILE

    def _begin(self) -> None:
        """Learns what costs the search rests on, or restores what an earlier process learned."""
        if self._measurements.exists():
            content = read_kept(self._measurements)
            try:
                self._source.restore(content["source"])
            except (KeyError, TypeError, ValueError, AttributeError):
                raise damaged(self._measurements) from None
            return
        begun = time.monotonic()
        self._source.begin(self._reporter)
        if self._measures:
            self._keep_measurements({"measure": time.monotonic() - begun}, None)

    def _keep_measurements(self, seconds: dict[str, float], queried: dict[str, float] | None) -> None:
        content = {"seconds": seconds, "source": self._source.state(), "queried": queried}
        write_json(self._measurements, content)

    def _prepare(self) -> Prepared:
        objective = None
        if self._trains:
            if not self._measures:
                keep_freed_memory()  # nothing is measured here that it would change
            objective = SupernetObjective(self.config, self._space, self._task)
        stage = Preparation(self.config, self._source, objective, self._truth, lambda: self._network, self._reporter)
        seconds: dict[str, float] = {}
        if self._measurements.exists():
            content = read_kept(self._measurements)
            try:
                seconds = {name: float(value) for name, value in content["seconds"].items()}
                queried = content["queried"]
                known = None if queried is None else {text: float(value) for text, value in queried.items()}
            except (KeyError, TypeError, ValueError, AttributeError):
                raise damaged(self._measurements) from None
            if known is not None:
                return stage.prepared_before(
                    lambda model: load_weights(self.folder / PREDICTOR_FILE, model), known, seconds
                )
        prepared = stage.prepare()
        prepared.seconds = {**seconds, **prepared.seconds}
        save_weights(self.folder / PREDICTOR_FILE, prepared.costs)
        self._keep_measurements(prepared.seconds, prepared.queried)
        self._tell_quality(prepared)
        return prepared

    def _tell_quality(self, prepared: Prepared) -> None:
        """How well networks are predicted that no predictor was trained on."""
        if self._source.held_out:
            entries = predictor_entries(self._source, prepared.search_devices, prepared.costs, self.config.seed + 6)
            for name, entry in entries.items():
                for key, quality in entry["costs"].items():
                    self._reporter.say(f"  {name}: Spearman {quality['spearman']:.3f} on held-out networks ({key})")

    # ---- search ----

    def _search(self, prepared: Prepared) -> Answer:
        """Searches from the last checkpoint on."""
        evaluator = self._evaluator(prepared)

        def track(answer: Answer) -> None:
            """Adds an evaluation of the current hypernetwork to the history."""
            evaluator.forget()
            chosen = evaluator.ray_points(answer.hypernet, prepared.devices, self.config.num_rays)
            points = {d.name: [list(p.values) for p in row] for d, row in zip(prepared.devices, chosen)}
            answer.search.history.tracked.append({"step": answer.search.finished_steps, "points": points})

        answer = search_on(
            start(self.config, prepared),
            self.folder / CHECKPOINT_FILE,
            self.config.search.checkpoint_every,
            self._reporter,
            self._stopper,
            track,
        )
        save_weights(self.folder / HYPERNETWORK_FILE, answer.hypernet)
        if isinstance(prepared.objective, SupernetObjective):
            save_weights(self.folder / SUPERNET_FILE, prepared.objective.supernet)
        return answer

    def _evaluator(self, prepared: Prepared) -> Evaluator:
        """True qualities where they are known, else those of the task objective."""
        truth = self._truth

        def true(onehot: Tensor) -> Tensor:
            assert truth is not None
            return truth.of([architecture.text for architecture in self._space.decode(onehot)])

        return Evaluator(self._space, true if truth else prepared.objective.errors, prepared.costs, self._source)

    # ---- evaluation and verification ----

    def _evaluate(self, answer: Answer) -> dict[str, Any]:
        """Per device the rays' networks, as many random ones, and the bounds of the costs."""
        devices, count = answer.prepared.devices, self.config.num_rays
        evaluator = self._evaluator(answer.prepared)
        generator = torch.Generator().manual_seed(self.config.seed + 5)
        entries = {}
        with self._reporter.stage("Evaluating", 1 + len(devices)) as advance:
            points = evaluator.ray_points(answer.hypernet, devices, count)
            advance(1)
            for done, (device, chosen) in enumerate(zip(devices, points)):
                onehot = random_architectures(self._space, count, generator)
                evaluator.compute_errors(onehot)
                drawn = evaluator.points(onehot, device)
                objectives = objectives_on(device, self._quality)
                entries[device.name] = {
                    "rays": plain_points(chosen, objectives),
                    "random": plain_points(drawn, objectives),
                    "cost_bounds": self._cost_bounds(evaluator, device, [*chosen, *drawn]),
                }
                advance(2 + done)
        return {"devices": entries}

    def _cost_bounds(self, evaluator: Evaluator, device: Device, points: Sequence[Point]) -> list[tuple[float, float]]:
        """Per cost, the least and the largest that is predicted or known; empty where the exact fronts tell."""
        if self._benchmark_is_known:
            return []
        bounds = evaluator.cost_bounds(device)
        columns = zip(*(point.values[1:] for point in points))
        return [(min(low, *column), max(high, *column)) for (low, high), column in zip(bounds, columns)]

    def _fronts(self, evaluation: dict[str, Any], devices: Sequence[Device]) -> list[list[Point]]:
        found = evaluation["devices"]
        return [
            front(points_of(found[device.name]["rays"], objectives_on(device, self._quality))) for device in devices
        ]

    def _verify(self, evaluation: dict[str, Any], devices: Sequence[Device]) -> dict[str, Any]:
        """Test qualities of networks spread over the fronts, trained from scratch; kept network by network."""
        path = self.folder / VERIFICATION_FILE
        content: dict[str, Any] = read_kept(path) if path.exists() else {"seconds": 0.0, "test": {}}
        options = self._as_verified.verify
        chosen = choose_spread(self._fronts(evaluation, devices), options.networks)
        left = [text for text in chosen if text not in content["test"]]
        if left:
            with self._reporter.stage("Training chosen networks", len(left) * options.epochs) as advance:
                for number, text in enumerate(left):
                    begun = time.monotonic()
                    content["test"][text] = self._train_chosen(text, behind(advance, number * options.epochs))
                    content["seconds"] += time.monotonic() - begun
                    write_json(path, content)
        return content

    def _train_chosen(self, text: str, on_epoch: Callable[[int], None]) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = self._space.build(self._space.parse(text), **self._network)
        return train_network(
            network,
            self._task,
            self.config.verify,
            augment=self.config.task.augment,
            seed=self.config.seed,
            device=self._device,
            on_epoch=on_epoch,
        )

    def _finish(self, evaluation: dict[str, Any], devices: Sequence[Device]) -> None:
        """Measures chosen networks on all devices of this machine, and what judges the predictor on the unseen ones."""
        if not self._measures:
            return
        chosen = choose_spread(self._fronts(evaluation, devices), self.config.verify.networks)

        def compute() -> dict[str, Any]:
            self._source.finish(chosen, self._reporter)
            return {"source": self._source.state()}

        content = once(self.folder / COSTS_FILE, compute)
        try:
            self._source.restore(content["source"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise damaged(self.folder / COSTS_FILE) from None

    # ---- the answer ----

    @property
    def _benchmark_is_known(self) -> bool:
        """Whether all networks' qualities and costs are known."""
        return self._truth is not None and self._source.complete

    def _benchmark(self, devices: Sequence[Device]) -> Benchmark | None:
        """What judges the answer exactly, where all is known."""
        truth, source = self._truth, self._source
        if truth is None or not source.complete:
            return None
        values = {device.name: source.listed(device.name, truth.architectures) for device in devices}
        table = CostTable(truth.architectures, source.metrics, values)
        return Benchmark(self._space, truth.task, table, truth.values, truth.kept, tuple(devices), truth.chance)

    def _compose(self, answer: Answer, evaluation: dict[str, Any], verification: dict[str, Any]) -> dict[str, Any]:
        prepared, source = answer.prepared, self._source
        devices, benchmark = prepared.devices, self._benchmark(prepared.devices)
        bounds = self._bounds(evaluation, benchmark, prepared.objective.chance_error)
        quality = predictor_entries(source, devices, prepared.costs, self.config.seed + 6)
        self._keep_table(devices)
        write_json(self.folder / QUALITY_FILE, {"devices": quality})
        history = compose_history(answer.search.history, bounds, costs_of(source.metrics))
        write_json(self.folder / HISTORY_FILE, history)
        entries = [
            device_entry(
                device,
                self._quality,
                evaluation["devices"][device.name],
                quality[device.name]["costs"],
                bounds[device.name],
                noise=source.noise(device.name),
                measured=source.found(device.name),
                exact=benchmark.fronts[device.name].hypervolume if benchmark else None,
                tested=verification["test"],
            )
            for device in devices
        ]
        predicted = self._predicted(list(verification["test"]), prepared)
        verified = [
            verified_entry(text, tested, entries, self._quality, predicted)
            for text, tested in verification["test"].items()
        ]
        return result_content(
            self.config,
            self._space,
            self._task_content(prepared),
            objectives_on(devices[0], self._quality),
            source.kinds,
            "true" if self._truth else "inherited",
            fingerprint(),
            entries,
            verified,
            self._seconds(answer, evaluation, verification),
        )

    def _seconds(self, answer: Answer, evaluation: dict[str, Any], verification: dict[str, Any]) -> dict[str, float]:
        found = {**answer.prepared.seconds, "search": answer.seconds, "evaluate": evaluation["seconds"]}
        costs = self.folder / COSTS_FILE
        verify = verification["seconds"] + (read_kept(costs)["seconds"] if costs.exists() else 0.0)
        return {**found, "verify": verify} if verify else found

    def _bounds(self, evaluation: dict[str, Any], benchmark: Benchmark | None, chance: float) -> dict[str, Bounds]:
        if benchmark is None:
            return common_bounds(evaluation, self._quality, chance)
        return {
            name: Bounds(tuple(exact.low.tolist()), tuple(exact.high.tolist()))
            for name, exact in benchmark.fronts.items()
        }

    def _keep_table(self, devices: Sequence[Device]) -> None:
        """Leaves what the run's table holds for queries of the answer; the search has ended."""
        texts = self._source.tabulated
        if texts:
            costs = {}
            for device in devices:
                columns = self._source.listed(device.name, texts).unbind(-1)
                costs[device.name] = {
                    cost.key: column
                    for cost, column in zip(costs_of(device.metrics), columns)
                    if self._source.kinds[cost.name] == "tabulated"
                }
            keep_table(self.folder / TABLE_FILE, texts, self._truth.of(texts) if self._truth else None, costs)

    @torch.no_grad()
    def _predicted(self, texts: Sequence[str], prepared: Prepared) -> dict[str, dict[str, dict[str, float]]]:
        """Costs by key that the predictors give networks, per device and network."""
        if not texts:
            return {device.name: {} for device in prepared.devices}
        onehot = self._space.encode([self._space.parse(text) for text in texts])
        evaluator = self._evaluator(prepared)
        found = {}
        for device in prepared.devices:
            keys = [cost.key for cost in costs_of(device.metrics)]
            rows = evaluator.costs(onehot, device).tolist()
            found[device.name] = {text: dict(zip(keys, row)) for text, row in zip(texts, rows)}
        return found

    def _task_content(self, prepared: Prepared) -> dict[str, Any]:
        notes = list(self._source.notes)
        if self._truth is not None:
            notes.insert(0, f"{self._truth.quality.name}: {self._truth.origin}")
            if self._trains:
                notes.append("it read no true error: it used those inherited from a supernet trained on the images")
            else:
                notes.append(f"it knew {len(prepared.queried)} true errors, for all devices together")
        if self._trains:
            task = self._task.description()
            name = task["name"] if self._truth is None else self._truth.task
            return {**task, "name": name, "notes": [*task["notes"], *notes]}
        assert self._truth is not None, "a surrogate has a truth"
        told = {key: list(value) if isinstance(value, tuple) else value for key, value in self._truth.network.items()}
        return {"name": self._truth.task, **self._truth.description, "network": told, "notes": notes}
