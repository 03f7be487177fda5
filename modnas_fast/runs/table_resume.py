"""A search on a table that survives a kill: what was prepared and how far the search came, on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from modnas_fast.config import Config
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.predictors.make import make_metapredictor
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.result.folder import MEASUREMENTS_FILE, PREDICTOR_FILE
from modnas_fast.runs.table_search import Answer, Measured, Prepared, TableSearch
from modnas_fast.runtime.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.runtime.progress import Reporter
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.search.bilevel import Search
from modnas_fast.tasks.surrogate import SurrogateObjective, make_fit
from modnas_fast.tasks.task_objective import TaskObjective


def prepare_once(
    stages: TableSearch, folder: Path, config: Config, benchmark: Benchmark, objective: TaskObjective | None
) -> Prepared:
    """What `stages.prepare()` returned, kept in `folder`: an earlier process's is found again, to the last bit.

    Args:
        stages: made from the following three.
        folder: of the run.
        config: the run's.
        benchmark: with costs of one metric.
        objective: None: a surrogate, which is fitted again to the errors that were queried.

    Raises InputError where a file is damaged or does not fit the tables.
    """
    if not (folder / MEASUREMENTS_FILE).exists():
        _keep(folder, stages.prepare())
    return _kept(folder, config, benchmark, objective)


def _keep(folder: Path, prepared: Prepared) -> None:
    (predictor,) = prepared.costs.predictors
    save_weights(folder / PREDICTOR_FILE, predictor)
    content = {"seconds": prepared.seconds, "measured": list(prepared.measured.by_text), "queried": prepared.queried}
    write_json(folder / MEASUREMENTS_FILE, content)


def _kept(folder: Path, config: Config, benchmark: Benchmark, objective: TaskObjective | None) -> Prepared:
    space, file = benchmark.space, folder / MEASUREMENTS_FILE
    try:
        content = read_json(file)
        texts, queried = content["measured"], {text: float(error) for text, error in content["queried"].items()}
        seconds = {stage: float(value) for stage, value in content["seconds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged; delete it to measure the table again") from None
    measured = Measured(benchmark)
    measured.add(space.encode([space.parse(text) for text in texts]))
    width = len(benchmark.devices[0].embedding)
    predictor = make_metapredictor(config.predictor, space, width, torch.Generator(), executes="written")
    load_weights(folder / PREDICTOR_FILE, predictor)
    if objective is None:
        known = space.encode([space.parse(text) for text in queried])
        fit = make_fit(*config.task.chosen[1:])
        surrogate = fit(known, torch.tensor(list(queried.values()), dtype=torch.float64))
        objective = SurrogateObjective(space, surrogate, queried, benchmark.chance_error)
    return Prepared(CostModel([predictor.requires_grad_(False)]), objective, measured, queried, seconds)


def search_on(
    stages: TableSearch,
    prepared: Prepared,
    checkpoint: Path,
    every: int,
    reporter: Reporter,
    stopper: Stopper,
    on_step: Callable[[Search], None] = lambda search: None,
) -> Answer:
    """The answer of a whole search, continued from `checkpoint` where there is one.

    Args:
        stages: of the search.
        prepared: its outcome.
        checkpoint: written every `every` steps, at the end, and before a stop.
        every: steps.
        reporter: where it is told that a search goes on.
        stopper: asked after every step.
        on_step: called after every step, before a checkpoint.
    """
    answer = stages.start(prepared)
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        answer.search.load_state_dict(state["search"])
        answer.seconds, answer.curve = state["seconds"], state["curve"]
        if not answer.search.done:
            reporter.say(f"Continuing at step {answer.search.finished_steps} of {answer.search.total_steps}")

    def keep(search: Search) -> None:
        on_step(search)
        if search.done or stopper.requested or search.finished_steps % every == 0:
            state = {"search": search.state_dict(), "seconds": answer.seconds, "curve": answer.curve}
            save_checkpoint(checkpoint, state)
        stopper.check()

    if not answer.search.done:
        with stopper.deferred():
            stages.advance(answer, keep)
    return answer
