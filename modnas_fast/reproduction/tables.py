"""The tables of NAS-Bench-201 that reproductions and black-box searches are judged by."""

from __future__ import annotations

from collections.abc import Sequence

from modnas_fast.evaluation.benchmark import Benchmark, benchmark_of
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.published import HELP


def load_benchmark(
    task: str = "cifar10",
    table: str = HELP,
    search: Sequence[str] | None = None,
    unseen: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
) -> Benchmark:
    """NAS-Bench-201 with errors of NATS-Bench and a table of costs, see `benchmark_of`.

    Args:
        task: cifar10, cifar100 or imagenet16-120.
        table: `help` (27 settings, latency), `hw-nas-bench-360` (three of a Raspberry Pi 5, latency and energy), or a
            CSV or parquet file of one's own with all networks.
        search: names of the devices searched; None: the paper's 13 of HELP, all of other tables.
        unseen: names of the devices held out; None: the paper's 6 of HELP, none of other tables.
        metrics: those of the table that become objectives; None: all.
    """
    return benchmark_of(NB201Space(), task, table, search, unseen, metrics)
