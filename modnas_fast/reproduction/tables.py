"""The tables that reproductions and black-box searches are judged by."""

from __future__ import annotations

from collections.abc import Sequence

from modnas_fast.evaluation.benchmark import Benchmark, benchmark_of
from modnas_fast.spaces import NB201Space, SearchSpace
from modnas_fast.spaces.nb201.published import HELP


def load_benchmark(
    task: str = "cifar10",
    table: str = HELP,
    search: Sequence[str] | None = None,
    unseen: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    space: SearchSpace | None = None,
) -> Benchmark:
    """A space with its published truth and a table of costs, see `benchmark_of`; by default NAS-Bench-201.

    Args:
        task: cifar10, cifar100 or imagenet16-120.
        table: `help` (27 settings, latency), `hw-nas-bench-360` (three of a Raspberry Pi 5, latency and energy), or a
            CSV or parquet file of one's own with all networks.
        search: names of the devices searched; None: the paper's 13 of HELP, all of other tables.
        unseen: names of the devices held out; None: the paper's 6 of HELP, none of other tables.
        metrics: those of the table that become objectives; None: all.
        space: another one, with a task and a table of its own.
    """
    return benchmark_of(space or NB201Space(), task, table, search, unseen, metrics)
