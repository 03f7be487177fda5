"""What others have trained and measured of a space: tables of costs on devices, and the quality of every network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective


@dataclass(frozen=True)
class CostTable:
    """Costs of n networks on devices.

    `values[device]` is [n, C], float64, one column per entry of `metrics` ({"latency": "ms"}), rows in the order of
    `architectures`, strings of the space.
    """

    architectures: tuple[str, ...]
    metrics: dict[str, str]
    values: dict[str, Tensor]

    def rows(self, architectures: Sequence[str]) -> Tensor:
        """Row of each network, int64 [len]. Raises InputError for one that is not in the table."""
        row_of = {text: row for row, text in enumerate(self.architectures)}
        try:
            return torch.tensor([row_of[text] for text in architectures], dtype=torch.int64)
        except KeyError as error:
            raise InputError(f"devices: the table has no measurements of {error.args[0]}") from None

    def in_order(self, architectures: tuple[str, ...]) -> CostTable:
        """The table with the rows of these networks, in their order. Raises InputError for one that is not in it."""
        if architectures == self.architectures:
            return self
        rows = self.rows(architectures)
        return CostTable(architectures, self.metrics, {name: values[rows] for name, values in self.values.items()})

    def select(self, metrics: Sequence[str]) -> CostTable:
        """The table with these metrics alone, in this order."""
        if list(metrics) == list(self.metrics):
            return self
        columns = [list(self.metrics).index(name) for name in metrics]
        units = {name: self.metrics[name] for name in metrics}
        return CostTable(self.architectures, units, {name: v[:, columns] for name, v in self.values.items()})


@dataclass(frozen=True)
class Truth:
    """The quality of every network of a space on a task, as others trained them."""

    task: str
    quality: Objective
    architectures: tuple[str, ...]
    #: in the unit of `quality`, float64 [n]
    values: Tensor
    #: which networks learned something and count in an evaluation, bool [n]
    kept: Tensor
    #: quality of a guess
    chance: float
    #: where the values come from, in words
    origin: str = ""
    #: what `SearchSpace.build` is told of the task, `input_shape` of one sample among it
    network: dict[str, Any] = field(default_factory=dict)
    #: what else a result tells of the task
    description: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.architectures)}

    def of(self, texts: Sequence[str]) -> Tensor:
        """Values of networks, float64 [n]. Raises InputError for one that is not known."""
        missing = [text for text in texts if text not in self._row_of]
        if missing:
            raise InputError(f"task.table: nothing is known of {missing[0]} on {self.task}")
        return self.values[[self._row_of[text] for text in texts]]


class Published(ABC):
    """The published tables of a space, found where `modnas-fast data` leaves them."""

    #: names of tables of costs, as `devices.table` takes them
    tables: tuple[str, ...]
    #: names of tasks whose truth is known, as `task.table` takes them; the first is the usual one
    tasks: tuple[str, ...]
    #: behind the complaint that a task's data is missing, what helps
    hint: str = ""

    @abstractmethod
    def costs(self, table: str) -> CostTable:
        """A table of costs. Raises InputError where its file is missing or damaged."""

    @abstractmethod
    def truth(self, task: str) -> Truth:
        """The truth of a task. Raises InputError where its file is missing or damaged."""

    def split(self, table: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """The devices of a table that are usually searched, None for all, and those that are held out."""
        return None, ()
