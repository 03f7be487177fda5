"""A tabular benchmark: a space whose networks are all known, with errors, costs on devices and exact fronts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from modnas_fast.devices import Device
from modnas_fast.devices.table import devices_of, load_costs, usual_split
from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces import Architecture, SearchSpace
from modnas_fast.spaces.parts import PartTable
from modnas_fast.spaces.published import CostTable
from modnas_fast.spaces.rows import RowTable

ERROR = Objective("error", "%")


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
        judge: qualities [n] of one-hots [n, N]; given where the table has not all networks of the space. It and the
            table's judge then tell of answers and of the fronts that they are compared with.
        quality: the first objective.
        asks_judge: whether a search may ask for the quality of any network, which the judge tells.
        row_table: what predictors learn from where networks of the table have no costs of their own. The table then has
            the networks that a reference search found, with judged values: their front is in the place of an exact one.
        part_table: the same where costs are sums over parts, exact and known of every network.
    """

    space: SearchSpace
    task: str
    table: CostTable
    errors: Tensor
    kept: Tensor
    devices: tuple[Device, ...]
    chance_error: float
    judge: Callable[[Tensor], Tensor] | None = None
    quality: Objective = ERROR
    asks_judge: bool = False
    row_table: RowTable | None = None
    part_table: PartTable | None = None

    @property
    def is_open(self) -> bool:
        """Whether all costs are told by judges, and the table has what a reference search found."""
        return self.row_table is not None or self.part_table is not None

    @property
    def search_devices(self) -> tuple[Device, ...]:
        """Those that a search may measure."""
        return tuple(device for device in self.devices if device.split == "search")

    def with_devices(self, devices: Sequence[Device]) -> Benchmark:
        """The same on these devices."""
        return replace(self, devices=tuple(devices))

    @cached_property
    def fronts(self) -> dict[str, ExactFront]:
        """The exact front of every device; where there is a judge, that of the table's networks as it judges them."""
        if self.judge is None or self.table.judge is None or self.is_open:
            return self.measured
        onehot = self.space.encode([self.space.parse(text) for text in self.table.architectures])
        errors = self.judge(onehot)
        return {
            name: ExactFront(errors, self.table.judge(name, onehot), self.kept, measured)
            for name, measured in self.measured.items()
        }

    @cached_property
    def measured(self) -> dict[str, ExactFront]:
        """The exact front of every device by the measurements of the table."""
        return {d.name: ExactFront(self.errors, self.table.values[d.name], self.kept) for d in self.devices}

    def points(self, onehot: Tensor, device: str) -> np.ndarray:
        """Normalised objectives of the networks [n, N] that are not dropped, those of equal networks once."""
        front = self.fronts[device]
        if self.judge is None or self.table.judge is None:
            return front.points(self.rows(onehot))
        return self.judged_points(device, torch.unique(onehot, dim=0))

    def judged_points(self, device: str, onehot: Tensor) -> np.ndarray:
        """Normalised objectives [n, M] of networks [n, N] as the judges tell them."""
        assert self.judge is not None and self.table.judge is not None
        values = torch.cat([self.judge(onehot)[:, None], self.table.judge(device, onehot)], dim=1)
        return self.fronts[device].normalize(values.numpy())

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.table.architectures)}

    def known_space(self) -> KnownSpace:
        """The same for black-box searches; where it is open, they ask the judges."""
        if self.is_open:
            judge = self.judged_points
            return KnownSpace(self.space, self.task, self.table.architectures, self.fronts, judge=judge)
        return KnownSpace(self.space, self.task, self.table.architectures, self.fronts, self.measured)

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


def benchmark_of(
    space: SearchSpace,
    task: str,
    table: str,
    search: Sequence[str] | None = None,
    unseen: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
) -> Benchmark:
    """The truth of a task and a table of costs of all networks of a space.

    Args:
        space: with published tables.
        task: one whose truth is published.
        table: name of a published table, or a CSV or parquet file of one's own with all networks.
        search, unseen: names of devices, see `usual_split`.
        metrics: those of the table that become objectives; None: all.

    Raises InputError for unknown names and where a file is missing.
    """
    if space.published is None or task not in space.published.tasks:
        known = ", ".join(space.published.tasks) if space.published else "none: no truth of the space is published"
        raise InputError(f"task: wanted one of {known}, got {task!r}")
    truth = space.published.truth(task)
    loaded = load_costs(table, space)
    if isinstance(loaded, RowTable):
        raise InputError(f"{table}: wanted networks with their costs, it has rows of averages")
    costs = in_order(select_metrics(loaded, metrics), truth.architectures, table)
    devices = devices_of(costs, space, *usual_split(costs, table, space, search, unseen))
    return Benchmark(
        space,
        task,
        costs,
        truth.values,
        truth.kept,
        tuple(devices),
        truth.chance,
        truth.judge,
        truth.quality,
        truth.asks_judge,
    )


def in_order(table: CostTable, architectures: tuple[str, ...], name: str) -> CostTable:
    """The table with rows in the order of the truth. Raises InputError where it has not just those networks."""
    if set(table.architectures) != set(architectures):
        raise InputError(
            f"{name}: wanted all {len(architectures)} networks of the space per device, got {len(table.architectures)}"
        )
    return table.in_order(architectures)


def select_metrics(table: CostTable, metrics: Sequence[str] | None) -> CostTable:
    """The table with some of its metrics; None: all. Raises InputError for one that it has not."""
    chosen = list(table.metrics if metrics is None else metrics)
    if not chosen or any(name not in table.metrics for name in chosen):
        raise InputError(f"metrics: wanted some of {', '.join(table.metrics)}, got {chosen}")
    return table.select(chosen)
