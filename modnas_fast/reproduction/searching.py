"""Searches on a benchmark without a folder of their own: prepared once, searched with several configurations."""

from __future__ import annotations

from collections.abc import Sequence

from modnas_fast.config import Config
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.devices.part_costs import PartCosts
from modnas_fast.devices.row_costs import RowCosts
from modnas_fast.devices.table_costs import TableCosts
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.runs.preparation import Preparation, Prepared
from modnas_fast.runs.searching import Answer, advance, start
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.search.scores import mean_by_split, scores
from modnas_fast.spaces.published import Truth
from modnas_fast.tasks.task_objective import TaskObjective


def prepare(
    config: Config, benchmark: Benchmark, objective: TaskObjective | None = None, reporter: Reporter | None = None
) -> Prepared:
    """What a search on a benchmark starts from, see `Preparation`."""
    reporter = reporter or Silent()
    names = {split: [d.name for d in benchmark.devices if d.split == split] for split in ("search", "unseen")}
    source = source_of(config, benchmark, names["search"], names["unseen"])
    source.begin(reporter)
    truth = Truth(
        benchmark.task,
        benchmark.quality,
        benchmark.table.architectures,
        benchmark.errors,
        benchmark.kept,
        benchmark.chance_error,
        judge=benchmark.judge,
        asks_judge=benchmark.asks_judge,
    )
    return Preparation(config, source, objective, truth, reporter=reporter).prepare()


def source_of(config: Config, benchmark: Benchmark, search: Sequence[str], unseen: Sequence[str]) -> CostSource:
    """Where a search on a benchmark gets the costs of its devices, not begun."""
    seed = config.seed + 2
    if benchmark.row_table is not None:
        table, networks = benchmark.row_table, config.devices.networks
        return RowCosts(benchmark.space, table, benchmark.task, search, unseen, networks=networks, seed=seed)
    if benchmark.part_table is not None:
        return PartCosts(
            benchmark.space,
            benchmark.part_table,
            ", ".join(benchmark.part_table.devices),
            list(benchmark.table.metrics),
            search,
            unseen,
            networks=config.devices.networks,
            seed=seed,
        )
    return TableCosts(
        benchmark.space,
        benchmark.table,
        benchmark.task,
        search,
        unseen,
        networks=config.devices.networks,
        heldout=config.devices.heldout,
        seed=seed,
        published=True,
    )


def score_on_the_way(config: Config, benchmark: Benchmark, answer: Answer) -> None:
    """Adds to the answer's curve seconds, evaluations, and the mean ratio per split."""
    found = scores(benchmark, answer.hypernet, config.num_rays)
    answer.curve.append(
        {
            "seconds": answer.total_seconds,
            "evaluations": len(answer.prepared.queried),
            "ratio": mean_by_split(benchmark, found, "ratio"),
        }
    )


def search(config: Config, benchmark: Benchmark, prepared: Prepared) -> Answer:
    """A whole search, scored on the way."""
    answer = start(config, prepared)
    return advance(answer, on_evaluation=lambda answer: score_on_the_way(config, benchmark, answer))
