"""What others have trained and measured of a space: tables of costs on devices, and the quality of every network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective

if TYPE_CHECKING:  # made of what is here
    from modnas_fast.spaces.rows import RowTable


class Fit(NamedTuple):
    """How well a judge tells a cost of the networks that were measured."""

    #: share of the variance that it explains
    r2: float
    spearman: float

    @classmethod
    def of_each(cls, told: Tensor, measured: Tensor) -> list[Fit]:
        """That of each column, [C], where `told` and `measured` are [n, C]."""
        import scipy.stats  # takes a second to load

        missed = (measured - told).square().sum(0) / (measured - measured.mean(0)).square().sum(0)
        orders = [scipy.stats.spearmanr(one.numpy(), other.numpy()) for one, other in zip(told.T, measured.T)]
        return [cls(1 - float(share), float(order.statistic)) for share, order in zip(missed, orders)]


class CostJudge(Protocol):
    """What judges costs of networks that a table has not."""

    def __call__(self, device: str, onehot: Tensor) -> Tensor:
        """Costs [n, C], float64, of networks [n, N] on a device."""
        ...

    def fits(self, device: str) -> list[Fit]:
        """How well each cost of the measured networks is told, [C]."""
        ...


class ColumnsJudge:
    """A judge of some of the costs."""

    def __init__(self, judge: CostJudge, columns: Sequence[int]) -> None:
        self._judge, self._columns = judge, list(columns)

    def __call__(self, device: str, onehot: Tensor) -> Tensor:
        return self._judge(device, onehot)[:, self._columns]

    def fits(self, device: str) -> list[Fit]:
        found = self._judge.fits(device)
        return [found[column] for column in self._columns]


@dataclass(frozen=True)
class CostTable:
    """Costs of n networks on devices.

    `values[device]` is [n, C], float64, one column per entry of `metrics` ({"latency": "ms"}), rows in the order of
    `architectures`, strings of the space; NaN in a column that the device lacks.
    """

    architectures: tuple[str, ...]
    metrics: dict[str, str]
    values: dict[str, Tensor]
    #: of networks that the table has not; None: nobody knows them
    judge: CostJudge | None = None

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
        return replace(
            self, architectures=architectures, values={name: values[rows] for name, values in self.values.items()}
        )

    def select(self, metrics: Sequence[str]) -> CostTable:
        """The table with these metrics alone, in this order."""
        if list(metrics) == list(self.metrics):
            return self
        columns = [list(self.metrics).index(name) for name in metrics]
        units = {name: self.metrics[name] for name in metrics}
        values = {name: v[:, columns] for name, v in self.values.items()}
        return CostTable(self.architectures, units, values, self.judge and ColumnsJudge(self.judge, columns))

    def lacking(self, device: str) -> list[str]:
        """The metrics that a device lacks."""
        unknown = self.values[device].isnan().any(dim=0).tolist()
        return [name for name, missing in zip(self.metrics, unknown) if missing]


@dataclass(frozen=True)
class Truth:
    """The quality of networks of a space on a task as others trained them: of all, or of some and a judge of others."""

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
    #: qualities [n], float64, of networks [n, N] that were not trained; None: all were
    judge: Callable[[Tensor], Tensor] | None = None
    #: what the judge is, in words
    judged_by: str = "the network that was published with the table"
    #: whether a search may ask for the quality of any network, and the judge answers
    asks_judge: bool = False

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.architectures)}

    @property
    def kind(self) -> Literal["true", "judged"]:
        """What qualities of an answer are."""
        return "true" if self.judge is None else "judged"

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
    def costs(self, table: str) -> CostTable | RowTable:
        """A table of costs. Raises InputError where its file is missing or damaged."""

    @abstractmethod
    def truth(self, task: str) -> Truth:
        """The truth of a task. Raises InputError where its file is missing or damaged."""

    def split(self, table: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """The devices of a table that are usually searched, None for all, and those that are held out."""
        return None, ()
