"""One run from start to answer: measure, predict, search, evaluate, verify, report.

Every stage leaves its outcome in the run's folder by rename (see `runfolder`), and a stage whose outcome is there
is not repeated, so that a killed run continues where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modnas_fast.baselines import random_architectures
from modnas_fast.config import Config
from modnas_fast.devices import (
    Campaign,
    Device,
    Latencies,
    Measurement,
    MeasurementCache,
    Profiler,
    Setting,
    embeddings,
    fingerprint,
    machine_settings,
    plan_campaign,
)
from modnas_fast.evaluation.fronts import front
from modnas_fast.evaluation.verify import choose_spread
from modnas_fast.predictors.make import make_metapredictor
from modnas_fast.predictors.metapredictor import CostModel, predictor_quality, train_metapredictor
from modnas_fast.result.content import (
    common_bounds,
    compose_history,
    compose_result,
    objectives_on,
    plain_points,
    points_of,
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
    SUPERNET_FILE,
    VERIFICATION_FILE,
)
from modnas_fast.runs.forecast import foresee
from modnas_fast.runs.stages import StagedRun, read_kept
from modnas_fast.runtime.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.progress import Reporter, behind
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.search.bilevel import Search, initial_hypernet
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.search.history import History
from modnas_fast.spaces import Architecture, make_space
from modnas_fast.supernets import Supernet
from modnas_fast.tasks.make import check_task
from modnas_fast.tasks.task_objective import SupernetObjective, initial_supernet, network_arguments, supernet_errors
from modnas_fast.tasks.training import train_network

#: networks to measure per setting
Wanted = Sequence[tuple[Setting, list[Architecture]]]
#: seconds from which on a run is told how to be made shorter
LONG_RUN = 1800


class Run(StagedRun):
    """The stages of one run on this machine.

    Args:
        folder, config, reporter, stopper: see `StagedRun`.
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
        super().__init__(folder, config, reporter, stopper)
        self._remeasure = remeasure
        self._space = make_space(config.space.name, config.space.options)

    def _check(self) -> None:
        """See `StagedRun.check`: the task's data, and names of devices."""
        super()._check()
        _ = self._campaign
        check_task(self.config)

    def _run_stages(self) -> dict[str, Any]:
        self._foresee()
        measured = self._measure()
        devices = self._campaign.devices(measured["latencies"])
        with self._search_threads():
            predictor = self._train_predictor(measured["latencies"], devices)
            history, search_seconds = self._search(devices, predictor)
            evaluation = self._evaluate(devices, predictor)
            verification = self._verify(evaluation, devices)
        costs = self._measure_chosen(verification)
        merged = {name: {**measured["latencies"][name], **values} for name, values in costs["latencies"].items()}
        quality = self._quality(merged, devices, predictor)
        bounds = common_bounds(evaluation, self._task.chance)
        write_json(self.folder / QUALITY_FILE, {"devices": quality})
        write_json(self.folder / HISTORY_FILE, compose_history(history, bounds))
        return compose_result(
            self.config,
            self._space,
            self._task,
            fingerprint(),
            devices,
            merged,
            quality,
            evaluation,
            verification,
            self._predicted(list(verification["test_error"]), devices, predictor),
            bounds,
            [*measured["notes"], *costs["notes"]],
            {
                "measure": measured["seconds"],
                "search": search_seconds,
                "evaluate": evaluation["seconds"],
                "verify": verification["seconds"] + costs["seconds"],
            },
        )

    # ---- what the stages rest on ----

    @cached_property
    def _campaign(self) -> Campaign:
        options = self.config.devices
        return plan_campaign(
            self._space,
            machine_settings(),
            options.unseen,
            networks=options.networks,
            heldout=options.heldout,
            seed=self.config.seed,
        )

    @cached_property
    def _profiler(self) -> Profiler:
        family: dict[str, object] = {"space": self._space.name, **self._network_arguments}
        cache = MeasurementCache(fingerprint(), family, note=lambda line: self._reporter.say(f"  note: {line}"))
        if self._remeasure:
            cache.clear()
        cache.try_writing()
        options = self.config.devices
        return Profiler(
            self._space, self._network_arguments, self._task.inputs, cache, options.repeats, options.minutes
        )

    @property
    def _network_arguments(self) -> dict[str, Any]:
        return network_arguments(self.config, self._task)

    def _evaluator(self, supernet: Supernet, predictor: nn.Module) -> Evaluator:
        task = self._task.to(self._device)
        errors = supernet_errors(self.config, supernet.to(self._device), task)
        return Evaluator(self._space, errors, CostModel([predictor]))

    def _foresee(self) -> None:
        """Tells what a new search will take, and refuses it where there is too little memory."""
        if (self.folder / CHECKPOINT_FILE).exists():
            return
        with self._search_threads():
            forecast = foresee(
                self.config, self._space, self._task, len(self._campaign.search), len(self._campaign.unseen)
            )
        self._reporter.say(f"Expected behind the measuring, about: {forecast}")
        if sum(forecast) > LONG_RUN:
            self._reporter.say(
                "  it grows with task.resize, task.limit, space.channels, search.steps, search.warmup_steps and "
                "search.refine_networks"
            )

    # ---- measuring ----

    def _measure(self) -> dict[str, Any]:
        return self._latencies_once(
            MEASUREMENTS_FILE, "Measuring this machine", lambda: self._campaign.before_search(), refuse=True
        )

    def _measure_chosen(self, verification: dict[str, Any]) -> dict[str, Any]:
        """Latencies of the verified networks on all devices, and of the held-out networks on the unseen ones."""
        chosen = [self._space.parse(text) for text in verification["test_error"]]
        return self._latencies_once(
            COSTS_FILE, "Measuring chosen networks", lambda: self._campaign.after_search(chosen), refuse=False
        )

    def _latencies_once(self, file: str, title: str, wanted: Callable[[], Wanted], refuse: bool) -> dict[str, Any]:
        def compute() -> dict[str, Any]:
            notes: list[str] = []

            def note(line: str) -> None:
                notes.append(line)
                self._reporter.say(f"  note: {line}")

            with self._reporter.stage(title, 100) as advance:
                latencies = self._profiler.latencies(wanted(), advance, note, refuse=refuse)
            plain = {
                device: {text: [value.latency_ms, value.noise] for text, value in values.items()}
                for device, values in latencies.items()
            }
            return {"latencies": plain, "notes": notes}

        content = self._once(file, compute)
        for setting in (*self._campaign.search, *self._campaign.unseen):
            if setting.name not in content["latencies"]:
                raise InputError(
                    f"{self.folder / file} lacks {setting.name}: the run began on another machine; start a new one"
                )
        content["latencies"] = {
            device: {text: Measurement(*value) for text, value in values.items()}
            for device, values in content["latencies"].items()
        }
        return content

    # ---- predictor ----

    def _train_predictor(self, latencies: Latencies, devices: Sequence[Device]) -> nn.Module:
        options = self.config.predictor
        generator = torch.Generator().manual_seed(self.config.seed + 4)
        width = len(devices[0].embedding)
        predictor = make_metapredictor(options, self._space, width, generator, executes="live")
        path = self.folder / PREDICTOR_FILE
        if path.exists():
            load_weights(path, predictor)
            return predictor.requires_grad_(False)
        with self._reporter.stage("Training the metapredictor", options.steps) as advance:
            train_metapredictor(
                predictor,
                *self._campaign.training_table(latencies),
                steps=options.steps,
                learning_rate=options.learning_rate,
                on_step=advance,
            )
        save_weights(path, predictor)
        for name, values in self._quality(latencies, devices[: len(self._campaign.search)], predictor).items():
            self._reporter.say(f"  {name}: Spearman {values['spearman']:.3f} on held-out networks")
        return predictor

    def _quality(
        self, latencies: Latencies, devices: Sequence[Device], predictor: nn.Module
    ) -> dict[str, dict[str, Any]]:
        """Per device, predictions beside measurements of the held-out networks."""
        networks = self._campaign.canonical(self._campaign.heldout)
        onehot = self._space.encode(networks)
        quality = {}
        for device in devices:
            with torch.no_grad():
                predicted = device.denormalize(predictor(onehot, embeddings([device]))).tolist()
            measured = [latencies[device.name][architecture.text].latency_ms for architecture in networks]
            quality[device.name] = {
                "split": device.split,
                **asdict(predictor_quality(predicted, measured)),
                "architectures": [architecture.text for architecture in networks],
                "predicted_ms": predicted,
                "measured_ms": measured,
            }
        return quality

    @torch.no_grad()
    def _predicted(
        self, texts: Sequence[str], devices: Sequence[Device], predictor: nn.Module
    ) -> dict[str, dict[str, float]]:
        """Latency in ms that the predictor gives each architecture, per device."""
        onehot = self._space.encode([self._space.parse(text) for text in texts])
        return {
            device.name: dict(zip(texts, device.denormalize(predictor(onehot, embeddings([device]))).tolist()))
            for device in devices
        }

    # ---- search ----

    def _search(self, devices: Sequence[Device], predictor: nn.Module) -> tuple[History, float]:
        """Searches from the last checkpoint on; the history, and the seconds spent, those before it included."""
        path = self.folder / CHECKPOINT_FILE
        search_devices = [device for device in devices if device.split == "search"]
        objective = SupernetObjective(self.config, self._space, self._task)
        search = Search(self.config, self._space, objective, search_devices, CostModel([predictor]))
        seconds = 0.0
        if path.exists():
            state = load_checkpoint(path)
            search.load_state_dict(state["search"])
            seconds = state["seconds"]
        if not search.done:
            if path.exists():
                self._reporter.say(f"Continuing at step {search.finished_steps} of {search.total_steps}")
            evaluator = Evaluator(self._space, objective.errors, CostModel([predictor]))
            seconds = self._advance(search, devices, evaluator, seconds)
        save_weights(self.folder / HYPERNETWORK_FILE, search.hypernet)
        save_weights(self.folder / SUPERNET_FILE, objective.supernet)
        return search.history, seconds

    def _advance(self, search: Search, devices: Sequence[Device], evaluator: Evaluator, seconds: float) -> float:
        start = time.monotonic() - seconds
        every = self.config.search.checkpoint_every
        with (
            self._reporter.stage("Searching", search.total_steps, search.finished_steps) as advance,
            self._stopper.deferred(),
        ):
            while not search.done:
                search.step()
                if search.evaluation_due:
                    self._track(search, evaluator, devices)
                if search.done or self._stopper.requested or search.finished_steps % every == 0:
                    state = {"search": search.state_dict(), "seconds": time.monotonic() - start}
                    save_checkpoint(self.folder / CHECKPOINT_FILE, state)
                self._stopper.check()
                advance(search.finished_steps)
        return time.monotonic() - start

    def _track(self, search: Search, evaluator: Evaluator, devices: Sequence[Device]) -> None:
        """Adds an evaluation of the current hypernetwork to the history."""
        evaluator.forget()
        chosen = evaluator.ray_points(search.hypernet, devices, self.config.evaluation.rays)
        points = {d.name: [list(p.values) for p in row] for d, row in zip(devices, chosen)}
        search.history.tracked.append({"step": search.finished_steps, "points": points})

    # ---- evaluation and verification ----

    def _evaluate(self, devices: Sequence[Device], predictor: nn.Module) -> dict[str, Any]:
        """Per device the rays' networks, as many random ones, and the hypervolumes of both."""

        def compute() -> dict[str, Any]:
            hypernet = initial_hypernet(self.config, self._space, len(devices[0].embedding))
            supernet = initial_supernet(self.config, self._space, self._task)
            load_weights(self.folder / HYPERNETWORK_FILE, hypernet)
            load_weights(self.folder / SUPERNET_FILE, supernet)
            evaluator = self._evaluator(supernet, predictor)
            count = self.config.evaluation.rays
            generator = torch.Generator().manual_seed(self.config.seed + 5)
            entries = {}
            with self._reporter.stage("Evaluating", 1 + len(devices)) as advance:
                points = evaluator.ray_points(hypernet, devices, count)
                advance(1)
                for done, (device, chosen) in enumerate(zip(devices, points)):
                    onehot = random_architectures(self._space, count, generator)
                    evaluator.compute_errors(onehot)
                    entries[device.name] = {
                        "rays": plain_points(chosen, objectives_on(device)),
                        "random": plain_points(evaluator.points(onehot, device), objectives_on(device)),
                        "cost_bounds": evaluator.cost_bounds(device),
                    }
                    advance(2 + done)
            return {"devices": entries}

        return self._once(EVALUATION_FILE, compute)

    def _verify(self, evaluation: dict[str, Any], devices: Sequence[Device]) -> dict[str, Any]:
        """Test errors of networks spread over the fronts, trained from scratch; kept network by network."""
        path = self.folder / VERIFICATION_FILE
        content: dict[str, Any] = read_kept(path) if path.exists() else {"seconds": 0.0, "test_error": {}}
        found = evaluation["devices"]
        fronts = [front(points_of(found[device.name]["rays"], objectives_on(device))) for device in devices]
        options = self.config.verify
        chosen = choose_spread(fronts, options.networks)
        left = [text for text in chosen if text not in content["test_error"]]
        if left:
            with self._reporter.stage("Training chosen networks", len(left) * options.epochs) as advance:
                for number, text in enumerate(left):
                    start = time.monotonic()
                    error = self._train_chosen(text, behind(advance, number * options.epochs))
                    content["test_error"][text] = error
                    content["seconds"] += time.monotonic() - start
                    write_json(path, content)
        return content

    def _train_chosen(self, text: str, on_epoch: Callable[[int], None]) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = self._space.build(self._space.parse(text), **self._network_arguments)
        return train_network(
            network,
            self._task,
            self.config.verify,
            augment=self.config.task.augment,
            seed=self.config.seed,
            device=self._device,
            on_epoch=on_epoch,
        )
