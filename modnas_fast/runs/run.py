"""One run from start to answer: prepare, predict, search, evaluate, verify, report.

Several ranks run the same stages together (`runtime.ranks`): rank 0 keeps the folder, measures and trains predictors,
and tells the others what came of it; searching, errors of networks and training chosen ones are divided among all.

It is the same whatever the costs come from (this machine, a table, formulas), whatever the task objective is (shared
weights or a surrogate), and whether a truth is known that judges the answer. Every stage leaves its outcome in the
run's folder by rename (see `result.folder`), and a stage whose outcome is there is not repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.config import Config, with_absolute_paths
from modnas_fast.datasets.registry import sha256_of
from modnas_fast.devices import Device, threads_restored
from modnas_fast.evaluation.fronts import Point, front
from modnas_fast.evaluation.verify import choose_spread
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.result import Result
from modnas_fast.result.compose_answers import keep_answers
from modnas_fast.result.content import answers_of, objectives_on, points_of
from modnas_fast.result.folder import (
    ACTIVATIONS_FILE,
    ANSWERS_FILE,
    BASELINES_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    COSTS_FILE,
    CURVE_FILE,
    EVALUATION_FILE,
    FILES_FILE,
    HYPERNETWORK_FILE,
    MEASUREMENTS_FILE,
    PREDICTOR_FILE,
    RESULT_FILE,
    SUPERNET_FILE,
)
from modnas_fast.runs.activations import faster, is_open, with_format
from modnas_fast.runs.compose import Outcomes, compose
from modnas_fast.runs.dividing import make_objective, mesh_of_run
from modnas_fast.runs.drawings import keep_drawings
from modnas_fast.runs.equal_terms import search_on_equal_terms
from modnas_fast.runs.evaluating import evaluate
from modnas_fast.runs.forecast import foresee
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runs.judging import predictor_entries
from modnas_fast.runs.kept import once, once_together, read_kept, undamaged
from modnas_fast.runs.measures import measure_answers
from modnas_fast.runs.preparation import Preparation, Prepared
from modnas_fast.runs.searching import Answer, search_on, start
from modnas_fast.runs.verification import train_chosen, verify
from modnas_fast.runtime.allocator import keep_freed_memory
from modnas_fast.runtime.checkpoint import load_weights, packed, save_weights, unpacked
from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.lock import locked
from modnas_fast.runtime.mesh import Mesh
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.runtime.ranks import ALONE, Ranks
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.tasks.task_objective import SupernetObjective

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
        ranks: that run it together, each with a `Run` of its own.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        reporter: Reporter | None = None,
        stopper: Stopper | None = None,
        remeasure: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self.folder = folder
        self.config = with_absolute_paths(config)
        self._reporter: Reporter = reporter or Silent()
        self._stopper = stopper or Stopper()
        self._inputs = Inputs(self.config, self._reporter, remeasure, self._made_folder)
        self._checked = False
        #: why `execute` could write no report, in one line; the result stands without one
        self.report_fault: str | None = None

    def _made_folder(self) -> Path | None:
        """The folder, once it is there."""
        return self.folder if (self.folder / CONFIG_FILE).exists() else None

    def execute(self) -> Result:
        """Runs what is missing and returns the result; the report stands in the folder too, or see `report_fault`.

        Of several ranks, rank 0 calls this and the others `follow`.

        Raises InputError for input that cannot be used, and where another process works in the folder.
        """
        with ExitStack() as held:
            if self._ranks.from_first(lambda: self._is_to_run(held)):
                write_json(self.folder / RESULT_FILE, self._finish(*self._run_stages()))
            Result.load(self.folder)  # a damaged one is told before the report
            self._report()
            self._keep_answers()
            result = Result.load(self.folder)
            self._ranks.from_first(lambda: None)  # until here the others wait, for all begin again where rank 0 fails
            return result

    def follow(self) -> None:
        """The part of a rank behind rank 0 in `execute`."""
        if self._ranks.from_first(lambda: False):
            self._run_stages()
        self._ranks.from_first(lambda: None)

    def _is_to_run(self, held: ExitStack) -> bool:
        """Whether stages are left, of a folder that is locked from now on."""
        held.enter_context(locked(self.folder))
        self._reporter.say(f"Run folder: {self.folder}")
        return not (self.folder / RESULT_FILE).exists()

    def _keep_answers(self) -> None:
        try:
            keep_answers(self.folder)
        except Exception as error:  # the result answers without it, in torch
            self._reporter.say(f"No {ANSWERS_FILE}: {one_line(error)}; modnas-fast report {self.folder} tries again")

    def check(self) -> None:
        """Raises InputError for what a quick look at the inputs shows: minutes of measuring shall not come first."""
        if not self._checked:
            self._inputs.check()
        self._checked = True

    def _report(self) -> None:
        try:
            from modnas_fast.report import write_report

            with self._reporter.stage("Writing the report", 1):
                keep_drawings(self.folder)
                write_report(self.folder, self.config.report.plots)
        except Exception as error:  # whatever it is, hours of search are not lost for it
            self.report_fault = one_line(error)

    def _run_stages(self) -> tuple[Answer, Outcomes]:
        """What was searched, evaluated, compared, measured and verified: what ranks do together."""
        ranks = self._ranks
        ranks.together(self.check)
        self._check_files()
        self._settle_activations()
        ranks.from_first(self._foresee)
        mesh = mesh_of_run(self._inputs, ranks, self._reporter, (self.folder / CHECKPOINT_FILE).exists())
        ranks.from_first(self._begin)
        with self._search_threads():
            prepared = self._prepare(mesh)
            answer = self._search(prepared)
            weights = self._keep_weights(answer)
            evaluation = once_together(self.folder / EVALUATION_FILE, lambda: self._evaluate(answer), ranks)
            measures = ranks.from_first(lambda: self._measure(weights, evaluation))
            baselines = self._search_on_equal_terms(answer, evaluation)
            verification = self._verify(evaluation, prepared.devices)
            return answer, Outcomes(evaluation, measures, baselines, verification)

    def _finish(self, answer: Answer, outcomes: Outcomes) -> dict[str, Any]:
        """The content of result.json."""
        self._measure_chosen(outcomes.evaluation, answer.prepared.devices)
        curve = {column: [entry[column] for entry in answer.curve] for column in ("step", "seconds")}
        write_json(self.folder / CURVE_FILE, curve)  # apart from history.json, which is the same for the same seed
        return compose(self._inputs, self.folder, answer, outcomes, self._seconds(answer, outcomes))

    def _check_files(self) -> None:
        """Raises InputError where a file that the configuration names is not the one that the run began with."""
        files = {f"space.{key}": path for key, path in self.config.space.files.items()}
        if files:
            now = self._ranks.together(lambda: {key: sha256_of(Path(path)) for key, path in files.items()})
            begun = self._ranks.from_first(lambda: once(self.folder / FILES_FILE, lambda: {"sha256": now}))
            self._ranks.together(lambda: self._compare_files(files, now, begun))

    def _compare_files(self, files: dict[str, str], now: dict[str, str], begun: dict[str, Any]) -> None:
        for key, digest in now.items():
            with undamaged(self.folder / FILES_FILE):
                if begun["sha256"][key] != digest:
                    raise InputError(
                        f"{key}: {files[key]} is another file than when the run began (its SHA-256 was "
                        f"{begun['sha256'][key][:12]}…); put that back, or begin a new run"
                    )

    @contextmanager
    def _search_threads(self) -> Iterator[None]:
        """The CPU threads that `search.threads` asks for, until the end of the context."""
        with threads_restored():
            if self.config.search.threads is not None:
                torch.set_num_threads(self.config.search.threads)
            yield

    def _settle_activations(self) -> None:
        """Decides on the format of the supernet's activations where that is left to this machine."""
        inputs, file = self._inputs, self.folder / ACTIVATIONS_FILE
        if not (inputs.trains and is_open(self.config, inputs.device)):
            return

        def found() -> dict[str, Any]:
            if not file.exists() and (self.folder / CHECKPOINT_FILE).exists():  # begun by an earlier version
                return {"activations": "float32"}
            with self._search_threads():
                return once(file, lambda: faster(self.config, inputs.space, inputs.task, inputs.step_cache()))

        found_by_first = self._ranks.from_first(found)
        with undamaged(file):
            self.config = inputs.config = with_format(self.config, found_by_first["activations"])
            if self.config.search.activations == "bfloat16":
                self._reporter.say(
                    f"  note: activations in bfloat16, in which a step is {found_by_first['speedup']:g} times as fast "
                    "on this CPU; search.activations=float32 leaves them as they were"
                )

    def _foresee(self) -> None:
        """Tells what a new search will take, and refuses it where there is too little memory."""
        if not self._inputs.trains or (self.folder / CHECKPOINT_FILE).exists():
            return
        if self.config.search.shard and self._ranks.size > 1:
            self._reporter.say("  note: no estimate of the time, for one rank alone does not hold the supernet")
            return
        splits = list(self._inputs.source.splits.values())
        with self._search_threads():
            forecast = foresee(
                self._as_verified, self._inputs.space, self._inputs.task, splits.count("search"), splits.count("unseen")
            )
        forecast = forecast.divided(self._ranks.size, self._as_verified.verify.networks)
        self._reporter.say(f"Expected behind the measuring, about: {forecast}")
        if sum(forecast) > LONG_RUN:
            self._reporter.say(
                "  it grows with task.resize, task.limit, space.channels, search.steps, search.warmup_steps and "
                "search.refine_networks"
            )

    @property
    def _as_verified(self) -> Config:
        """The configuration, without a verification where the truth is known."""
        if self._inputs.truth is None:
            return self.config
        return self.config.model_copy(update={"verify": self.config.verify.model_copy(update={"networks": 0})})

    # ---- prepare and predict ----

    @property
    def _measurements(self) -> Path:
        return self.folder / MEASUREMENTS_FILE

    def _begin(self) -> None:
        """Learns what costs the search rests on, or restores what an earlier process learned."""
        if self._measurements.exists():
            with undamaged(self._measurements):
                self._inputs.source.restore(read_kept(self._measurements)["source"])
            return
        begun = time.monotonic()
        self._inputs.source.begin(self._reporter)
        if self._inputs.measures:
            self._keep_measurements({"measure": time.monotonic() - begun}, None)

    def _keep_measurements(self, seconds: dict[str, float], queried: dict[str, float] | None) -> None:
        content = {"seconds": seconds, "source": self._inputs.source.state(), "queried": queried}
        write_json(self._measurements, content)

    def _prepare(self, mesh: Mesh) -> Prepared:
        """Rank 0 trains and queries, and tells the others what came of it and of its measuring."""
        inputs, ranks, objective = self._inputs, self._ranks, None
        if inputs.trains:
            if not inputs.measures:
                keep_freed_memory()  # nothing is measured here that it would change
            objective = ranks.together(lambda: make_objective(inputs, mesh, self._reporter))
        found: list[Prepared] = []

        def prepared_by_first() -> bytes:
            prepared = self._prepare_first(self._preparation(objective))
            found.append(prepared)
            told = {"predictors": prepared.costs.state_dict(), "queried": prepared.queried, "seconds": prepared.seconds}
            return packed({"source": json.dumps(inputs.source.state()), **told})

        told = unpacked(ranks.bytes_from_first(prepared_by_first))
        if not ranks.first:
            ranks.together(lambda: inputs.source.restore(json.loads(told["source"])))
            load = partial(CostModel.load_state_dict, state_dict=told["predictors"])
            return self._preparation(objective).prepared_before(load, told["queried"], told["seconds"])
        ranks.together(lambda: None)
        return found[0]

    def _preparation(self, objective: SupernetObjective | None) -> Preparation:
        inputs = self._inputs
        return Preparation(
            self.config,
            inputs.source,
            objective,
            inputs.truth,
            lambda: inputs.network,
            self._reporter,
            inputs.regions,
        )

    def _prepare_first(self, stage: Preparation) -> Prepared:
        seconds: dict[str, float] = {}
        if self._measurements.exists():
            content = read_kept(self._measurements)
            with undamaged(self._measurements):
                seconds = {name: float(value) for name, value in content["seconds"].items()}
                if content["queried"] is not None:
                    queried = {text: float(value) for text, value in content["queried"].items()}
                    return stage.prepared_before(self._load_predictors, queried, seconds)
        prepared = stage.prepare()
        prepared.seconds = {**seconds, **prepared.seconds}
        save_weights(self.folder / PREDICTOR_FILE, prepared.costs)
        self._keep_measurements(prepared.seconds, prepared.queried)
        self._tell_quality(prepared)
        return prepared

    def _load_predictors(self, model: CostModel) -> None:
        load_weights(self.folder / PREDICTOR_FILE, model)

    def _tell_quality(self, prepared: Prepared) -> None:
        """How well networks are predicted that no predictor was trained on."""
        if self._inputs.source.held_out:
            devices, seed = prepared.search_devices, self.config.seed + 6
            entries = predictor_entries(self._inputs.source, devices, prepared.costs, seed)
            for name, entry in entries.items():
                for key, quality in entry["costs"].items():
                    if quality["spearman"] is not None:  # of one network there is none
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
            answer.curve.append({"step": answer.search.finished_steps, "seconds": round(answer.total_seconds, 3)})

        return search_on(
            start(self.config, prepared, self._inputs.regions),
            self.folder / CHECKPOINT_FILE,
            self.config.search.checkpoint_every,
            self._reporter,
            self._stopper,
            track,
            self._ranks,
        )

    def _keep_weights(self, answer: Answer) -> Mapping[str, Tensor] | None:
        """Writes Φ and w, on rank 0, and returns w by name; None where there is none."""
        objective = answer.prepared.objective
        weights = objective.weights() if isinstance(objective, SupernetObjective) else None
        if self._ranks.first:
            save_weights(self.folder / HYPERNETWORK_FILE, answer.hypernet)
            if weights is not None:
                save_weights(self.folder / SUPERNET_FILE, weights)
        return weights

    def _evaluator(self, prepared: Prepared) -> Evaluator:
        """True or judged qualities where those are known, else those of the task objective."""
        truth = self._inputs.truth

        def true(onehot: Tensor) -> Tensor:
            assert truth is not None
            if truth.judge is not None:
                return truth.judge(onehot)
            return truth.of([architecture.text for architecture in self._inputs.space.decode(onehot)])

        errors = true if truth else prepared.objective.errors
        return Evaluator(self._inputs.space, errors, prepared.costs, self._inputs.source)

    # ---- evaluation and verification ----

    def _evaluate(self, answer: Answer) -> dict[str, Any]:
        """What the answer's networks come to on every device."""
        evaluator, familiar = self._evaluator(answer.prepared), self._as_verified.verify.networks > 0
        if self._inputs.truth is None:
            evaluator.remember(answer.search.archive.onehot, answer.search.archive.qualities)
        return evaluate(self._inputs, answer, evaluator, self._reporter, familiar=familiar)

    def _fronts(self, evaluation: dict[str, Any], devices: Sequence[Device]) -> list[list[Point]]:
        found, quality = evaluation["devices"], self._inputs.quality
        answers = [answers_of(found[device.name]) for device in devices]
        return [front(points_of(points, objectives_on(device, quality))) for device, points in zip(devices, answers)]

    def _measure(self, weights: Mapping[str, Tensor] | None, evaluation: dict[str, Any]) -> dict[str, Any]:
        """Further measures of the rays' networks, where the task has such and a supernet has weights for them."""
        if weights is None:
            return {"seconds": 0.0, "networks": {}}
        texts = [point["architecture"] for entry in evaluation["devices"].values() for point in answers_of(entry)]
        return measure_answers(self._inputs, self.folder, weights, texts, self._reporter)

    def _search_on_equal_terms(self, answer: Answer, evaluation: dict[str, Any]) -> dict[str, Any]:
        """Fronts of black-box searches on the same weights, where they are asked for."""
        if not self.config.evaluation.baselines:
            return {}
        answered = [point["architecture"] for entry in evaluation["devices"].values() for point in answers_of(entry)]

        def search() -> dict[str, Any]:
            evaluator = self._evaluator(answer.prepared)
            return search_on_equal_terms(self._inputs, answer, answered, evaluator, self._reporter)

        return once_together(self.folder / BASELINES_FILE, search, self._ranks)

    def _to_verify(self, evaluation: dict[str, Any], devices: Sequence[Device], count: int) -> list[str]:
        """`count` networks spread over the fronts, and the familiar one."""
        chosen = choose_spread(self._fronts(evaluation, devices), count)
        return [*chosen, *(text for text in evaluation.get("familiar", {}) if text not in chosen)]

    def _verify(self, evaluation: dict[str, Any], devices: Sequence[Device]) -> dict[str, Any]:
        """Test qualities of networks spread over the fronts, trained from scratch."""
        options = self._as_verified.verify
        chosen = self._ranks.from_first(lambda: self._to_verify(evaluation, devices, options.networks))
        train = partial(train_chosen, self._inputs)
        return verify(self.folder, chosen, train, options.epochs, self._ranks, self._reporter)

    def _measure_chosen(self, evaluation: dict[str, Any], devices: Sequence[Device]) -> None:
        """Measures chosen networks on all devices of this machine, and what judges the predictor on the unseen ones."""
        if not self._inputs.measures:
            return
        chosen = self._to_verify(evaluation, devices, self.config.verify.networks)

        def measure() -> dict[str, Any]:
            self._inputs.source.finish(chosen, self._reporter)
            return {"source": self._inputs.source.state()}

        content = once(self.folder / COSTS_FILE, measure)
        with undamaged(self.folder / COSTS_FILE):
            self._inputs.source.restore(content["source"])

    def _seconds(self, answer: Answer, outcomes: Outcomes) -> dict[str, float]:
        """Per stage; further measures and baselines count as evaluation, measuring chosen networks as verification."""
        evaluate = sum(of.get("seconds", 0.0) for of in (outcomes.evaluation, outcomes.measures, outcomes.baselines))
        found = {**answer.prepared.seconds, "search": answer.seconds, "evaluate": evaluate}
        costs = self.folder / COSTS_FILE
        verify = outcomes.verification["seconds"] + (read_kept(costs)["seconds"] if costs.exists() else 0.0)
        return {**found, "verify": verify} if verify else found
