"""A tabular benchmark: a space whose networks are all known, with errors, costs on devices and exact fronts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from modnas_fast.config import PUBLISHED_TABLES
from modnas_fast.datasets.home import locate
from modnas_fast.devices import Device
from modnas_fast.devices.table import (
    PAPER_SEARCH,
    PAPER_UNSEEN,
    CostTable,
    load_cost_file,
    load_help,
    load_hw_nas_bench_360,
)
from modnas_fast.evaluation.exact import DEGENERATE_ERROR, ExactFront
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import Architecture, NB201Space, SearchSpace
from modnas_fast.spaces.nb201.error_table import load_nats_bench

#: error in percent of a guess
CHANCE_ERROR = {"cifar10": 90.0, "cifar100": 99.0, "imagenet16-120": 100 * (1 - 1 / 120)}
HELP, HW_NAS_BENCH_360 = PUBLISHED_TABLES


@dataclass(frozen=True)
class Benchmark:
    """What is known of a task and its devices.

    Args:
        space: the search space.
        task: name of the task that the errors are of.
        table: costs of n networks.
        errors: test errors in percent in the table's order, [n].
        kept: which networks learned something and count in the evaluation, bool [n].
        devices: search devices first.
        chance_error: error in percent of a guess.
    """

    space: SearchSpace
    task: str
    table: CostTable
    errors: Tensor
    kept: Tensor
    devices: tuple[Device, ...]
    chance_error: float

    @property
    def search_devices(self) -> tuple[Device, ...]:
        """Those that a search may measure."""
        return tuple(device for device in self.devices if device.split == "search")

    @cached_property
    def fronts(self) -> dict[str, ExactFront]:
        """The exact front of every device."""
        return {d.name: ExactFront(self.errors, self.table.values[d.name], self.kept) for d in self.devices}

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.table.architectures)}

    def known_space(self) -> KnownSpace:
        """The same for black-box searches."""
        return KnownSpace(self.space, self.task, self.table.architectures, self.fronts)

    def rows(self, onehot: Tensor) -> list[int]:
        """Rows of architectures [n, N] in the table. Raises InputError for one that is not in it."""
        texts = [architecture.text for architecture in self.space.decode(onehot)]
        missing = [text for text in texts if text not in self._row_of]
        if missing:
            raise InputError(f"devices: the table has no measurements of {missing[0]}")
        return [self._row_of[text] for text in texts]

    def architectures(self, rows: Sequence[int]) -> list[Architecture]:
        """The networks of rows."""
        return [self.space.parse(self.table.architectures[row]) for row in rows]

    def true_errors(self, onehot: Tensor) -> Tensor:
        """Errors in percent [n] of architectures [n, N]."""
        return self.errors[self.rows(onehot)]

    def normalized_costs(self, rows: Sequence[int]) -> Tensor:
        """Measured costs of rows on the search devices, float32 [n, T, C] in the devices' normalised ranges."""
        metrics = list(self.table.metrics)
        values = []
        for device in self.search_devices:
            columns = self.table.values[device.name][rows].unbind(-1)
            values.append(torch.stack([device.normalize(v, m) for v, m in zip(columns, metrics)], dim=-1))
        return torch.stack(values, dim=1).float()


def load_benchmark(
    task: str = "cifar10",
    table: str = HELP,
    search: Sequence[str] | None = None,
    unseen: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
) -> Benchmark:
    """NAS-Bench-201 with errors of NATS-Bench and a table of costs.

    Args:
        task: cifar10, cifar100 or imagenet16-120.
        table: `help` (27 settings, latency), `hw-nas-bench-360` (three of a Raspberry Pi 5, latency and energy), or a
            CSV or parquet file of one's own with all networks (see `load_cost_file`).
        search: names of the devices searched; None: the paper's 13 of HELP, all of other tables; less those in
            `unseen`.
        unseen: names of the devices held out; None: the paper's 6 of HELP, none of other tables.
        metrics: those of the table that become objectives; None: all.

    Networks with an error of 90 % on CIFAR-10 (341) learned nothing and are dropped from the evaluation, whatever the
    task. Raises InputError for unknown names and where a file is missing.
    """
    if task not in CHANCE_ERROR:
        raise InputError(f"task: wanted one of {', '.join(CHANCE_ERROR)}, got {task!r}")
    space = NB201Space()
    truth = load_nats_bench(locate("nb201/nats_bench.csv"))
    costs = _select_metrics(_load_costs(table, space, truth.architectures), metrics)
    candidates = PAPER_SEARCH if table == HELP else costs.values
    default_search = [name for name in candidates if name not in (unseen or ())]
    default_unseen = PAPER_UNSEEN if table == HELP and search is None else ()
    devices = costs.devices(
        space, default_search if search is None else search, default_unseen if unseen is None else unseen
    )
    return Benchmark(
        space,
        task,
        costs,
        truth.errors[task],
        truth.errors["cifar10"] < DEGENERATE_ERROR,
        tuple(devices),
        CHANCE_ERROR[task],
    )


def _load_costs(table: str, space: SearchSpace, architectures: Sequence[str]) -> CostTable:
    if table == HELP:
        return load_help(locate("nb201/help-latency/1080ti_1.pt").parent, architectures)
    if table == HW_NAS_BENCH_360:
        return load_hw_nas_bench_360(locate("nb201/hw-nas-bench-360/dataset.parquet"), architectures)
    if not Path(table).is_file():
        raise InputError(f"devices.table: wanted {HELP}, {HW_NAS_BENCH_360} or a CSV or parquet file, got {table!r}")
    own = load_cost_file(Path(table), space)
    if set(own.architectures) != set(architectures):
        raise InputError(
            f"{table}: wanted all {len(architectures)} networks of the space per device, got {len(own.architectures)}"
        )
    rows = own.rows(architectures)
    return CostTable(tuple(architectures), own.metrics, {name: values[rows] for name, values in own.values.items()})


def _select_metrics(table: CostTable, metrics: Sequence[str] | None) -> CostTable:
    if metrics is None or list(metrics) == list(table.metrics):
        return table
    unknown = [name for name in metrics if name not in table.metrics]
    if unknown or not metrics:
        raise InputError(f"devices.metrics: wanted some of {', '.join(table.metrics)}, got {list(metrics)}")
    columns = [list(table.metrics).index(name) for name in metrics]
    units = {name: table.metrics[name] for name in metrics}
    return CostTable(table.architectures, units, {name: v[:, columns] for name, v in table.values.items()})
