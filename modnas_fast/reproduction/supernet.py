"""The search with a supernet on CIFAR-10 and latencies from tables: the paper's way, no true error is read.

True errors of the table judge the answer alone: the hypervolume reached, and how well errors inherited from the
supernet rank random networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from modnas_fast.config import Config, make_config
from modnas_fast.datasets.home import data_home
from modnas_fast.devices.measure import threads_restored
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.predictors.metapredictor import predictor_quality
from modnas_fast.reproduction.compose import head
from modnas_fast.reproduction.run import REPRODUCTION_FILE, keep_settings
from modnas_fast.reproduction.searching import prepare, score_on_the_way
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.reproduction.trial import Entry, predictor_entry, run_entry
from modnas_fast.result.folder import CHECKPOINT_FILE
from modnas_fast.runs.searching import search_on, start
from modnas_fast.runtime.allocator import keep_freed_memory
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.progress import Reporter
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.tasks.make import make_task
from modnas_fast.tasks.task_objective import SupernetObjective

#: where CIFAR-10 may lie in the data folder
CIFAR10_FOLDERS = ("cifar10", "cifar10-png")
#: random networks whose inherited errors are compared with the table
JUDGED = 200
#: enough to see that all works, in about a minute
QUICK_OVERRIDES = (
    "space.channels=4",
    "space.cells=1",
    "task.resize=12",
    "task.limit=1000",
    "task.test_limit=200",
    "predictor.steps=200",
    "search.batch_size=64",
    "search.warmup_steps=40",
    "search.steps=10",
    "search.refine_steps=20",
    "search.refine_networks=64",
    "search.threads=1",
)


def reproduce_with_supernet(
    folder: Path,
    *,
    data: Path | None,
    overrides: Sequence[str],
    quick: bool,
    command: str,
    reporter: Reporter,
    stopper: Stopper,
) -> dict[str, Any]:
    """Searches, judges, and writes reproduction.json; returns its content.

    Args:
        folder: made where it is missing; an unfinished search in it is continued.
        data: CIFAR-10 images; None: those in the data folder.
        overrides: changes of the preset nb201-supernet (`a.b=c`).
        quick: a search so small that it shows nothing but that all works.
        command: that was given, for the record.
        reporter: where progress is told.
        stopper: asked after every step; a checkpoint is written first.
    """
    config = make_config(preset="nb201-supernet", overrides=[*(QUICK_OVERRIDES if quick else ()), *overrides])
    devices = config.devices
    if devices.table is None:
        raise InputError("devices.table: the reproduction takes costs from a table, got none; leave it out")
    unseen = None if devices.unseen == "auto" else devices.unseen
    keep_settings(folder, {"source": "supernet", "configuration": config.model_dump(mode="json")})
    task = config.task.table or "cifar10"
    benchmark = load_benchmark(task, devices.table, devices.search, unseen, config.objectives[1:])
    with threads_restored():
        if config.search.threads is not None:
            torch.set_num_threads(config.search.threads)
        objective = _objective(config, benchmark, data, reporter)
        answer = search_on(
            start(config, prepare(config, benchmark, objective, reporter)),
            folder / CHECKPOINT_FILE,
            config.search.checkpoint_every,
            reporter,
            stopper,
            lambda answer: score_on_the_way(config, benchmark, answer),
        )
        run = run_entry(benchmark, config, answer)
        judged = _judge(config, benchmark, objective, reporter)
    content = {
        **head("supernet", benchmark, command, answer.total_seconds),
        "seeds": [config.seed],
        "quick": quick,
        "evaluations": 0,
        "notes": ["No true error is read by the search: errors are those inherited from the supernet."],
        "methods": [{"name": "modnas", "label": "MODNAS, supernet", "evaluations_note": "none", "runs": [run]}],
        "predictor": predictor_entry(benchmark, answer.prepared),
        "supernet": {
            "seconds": answer.seconds,
            "setting": _setting(config),
            **judged,
            "hypervolume_ratio": run["ratio"],
        },
    }
    write_json(folder / REPRODUCTION_FILE, content)
    return content


def _objective(config: Config, benchmark: Benchmark, data: Path | None, reporter: Reporter) -> SupernetObjective:
    places = [data] if data else [data_home() / name for name in CIFAR10_FOLDERS]
    images = next((place for place in places if place.exists()), None)
    if images is None:
        raise InputError(f"--data: {places[0]} does not exist; fetch CIFAR-10 with: modnas-fast data fetch cifar10")
    with_images = config.model_copy(update={"task": config.task.model_copy(update={"data": str(images)})})
    with reporter.stage("Loading images", 100) as advance:
        task = make_task(with_images, advance)
    keep_freed_memory()
    return SupernetObjective(config, benchmark.space, task)


def _judge(config: Config, benchmark: Benchmark, objective: SupernetObjective, reporter: Reporter) -> Entry:
    """Inherited beside true errors of random networks that learned something, and their rank correlation."""
    generator = torch.Generator().manual_seed(config.seed + 6)
    kept = benchmark.kept.nonzero().flatten()
    rows = kept[torch.randperm(len(kept), generator=generator)[:JUDGED]].tolist()
    onehot = benchmark.space.canonical(benchmark.space.encode(benchmark.architectures(rows)))
    inherited: list[float] = []
    with reporter.stage("Judging the supernet", len(rows)) as advance, torch.no_grad():
        for part in onehot.split(10):
            inherited += objective.errors(part).tolist()
            advance(len(inherited))
    true = benchmark.errors[rows].tolist()
    quality = predictor_quality(inherited, true)
    return {"spearman": quality.spearman, "networks": len(rows), "points": list(zip(inherited, true))}


def _setting(config: Config) -> str:
    space, task, search = config.space, config.task, config.search
    images = f"{task.limit or 'all'} images" + (f" of {task.resize}×{task.resize} pixels" if task.resize else "")
    return (
        f"C = {space.channels}, N = {space.cells}, {images}, batch {search.batch_size}, {search.warmup_steps} + "
        f"{search.steps} steps of w, {search.refine_steps} of refinement"
    )
