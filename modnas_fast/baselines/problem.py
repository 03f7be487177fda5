"""The one question a black-box search may ask, counted: the true objectives of a network of a known table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property, partial
from random import Random

import numpy as np
import torch
from torch import Tensor

from modnas_fast.evaluation.exact import ExactFront, Score
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.suggestions import did_you_mean
from modnas_fast.spaces import SearchSpace


class BudgetSpent(Exception):
    """One more network was asked for than the budget allows."""


class Problem:
    """Objectives of networks on one device, up to a number of distinct networks.

    Networks count by their row in the table: two that differ only in what has no influence were trained and measured
    apart, so each costs one evaluation. A network that learned nothing answers with its error and the highest costs,
    as nobody would use it however cheap it is.

    Where the table has some networks of the space alone, they are a pool: for a network that is not in it stands the
    one that differs in the fewest choices, of several the first row, of those that were not asked for before.

    Args:
        space: the search space.
        architectures: its strings, one per row of the table.
        front: all rows on the device, with their normalised objectives as they were measured.
        budget: distinct networks that may be asked for.

    Raises InputError for a budget below 1 or above the rows of the table.
    """

    @classmethod
    def on(cls, known: KnownSpace, device: str, budget: int) -> Problem:
        """All networks of a known space on a device, with nothing spent.

        Args:
            known: such as `Benchmark.known_space()` of `modnas_fast.evaluation.benchmark.benchmark_of`.
            device: one of `known.fronts`. Raises InputError for another one.
            budget: distinct networks that may be asked for.
        """
        if device not in known.fronts:
            hint = did_you_mean(device, known.fronts)
            raise InputError(f"device: unknown name {device!r}; {hint}the table has {', '.join(known.fronts)}")
        if known.judge is not None:
            from modnas_fast.baselines.open_problem import OpenProblem  # made of this

            return OpenProblem(known.space, partial(known.judge, device), budget, known.fronts[device])
        return cls(known.space, known.architectures, (known.measured or known.fronts)[device], budget)

    def __init__(self, space: SearchSpace, architectures: Sequence[str], front: ExactFront, budget: int) -> None:
        count = len(architectures)
        if not 1 <= budget <= count:
            raise InputError(f"evaluations: wanted 1 to {count}, the networks of the table, got {budget}")
        self.space = space
        self.front = front
        self.budget = budget
        self.pool = count != space.num_architectures
        """Whether the table has some networks of the space alone."""
        self._architectures = architectures
        self._row_of = {text: row for row, text in enumerate(architectures)}
        self._objectives = np.where(front.kept[:, None], front.values, front.values.clip(min=1))
        self._asked: dict[int, None] = {}
        self.asked_at: list[float] = []
        """When each of `rows` was first asked for, in seconds of `time.perf_counter`."""

    @property
    def num_objectives(self) -> int:
        """M."""
        return self._objectives.shape[1]

    @property
    def rows(self) -> list[int]:
        """Distinct rows in the order in which they were first asked for."""
        return list(self._asked)

    @property
    def left(self) -> int:
        """Distinct networks that may still be asked for."""
        return self.budget - len(self._asked)

    def score(self, front: ExactFront, count: int) -> Score:
        """How good the first networks that were asked for are, by a front of all rows."""
        return front.score(self.rows[:count])

    def knows(self, indices: Sequence[int]) -> bool:
        """Whether the network was asked for before: asking again is free."""
        return self._row(indices) in self._asked

    def evaluate(self, indices: Sequence[int]) -> tuple[float, ...]:
        """The M objectives of the network with option `indices[g]` in choice g, to be minimised: quality, then costs.

        They are shares of the device's table: 0 is the least and 1 the largest among its networks that learned
        something; `in_units` has them in percent, ms and so on. Raises BudgetSpent for a new network where nothing is
        left.

        Args:
            indices: G whole numbers, one per choice of `space.choices`; `space.parse(text).indices` of a string.
        """
        row = self._row(indices)
        if row not in self._asked:
            if not self.left:
                raise BudgetSpent(f"all {self.budget} evaluations are spent")
            self._asked[row] = None
            self.asked_at.append(time.perf_counter())
        return tuple(self._objectives[row].tolist())

    def in_units(self, objectives: Sequence[float]) -> tuple[float, ...]:
        """What `evaluate` answered, [M], in the units of the table: quality (such as error in %), then costs."""
        low, high = self.bounds
        return tuple((low + np.asarray(objectives) * (high - low)).tolist())

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """What is 0 and 1 in the objectives, in their units, float64 [M] each."""
        return self.front.low, self.front.high

    @cached_property
    def embedding(self) -> Tensor:
        """What a hypernetwork knows of the device, float32 [E]: costs of the reference networks, as in Device."""
        rows = [self._row_of[text] for text in self.space.references]
        costs = self.front.values[rows, 1:]
        low, high = costs.min(axis=0), costs.max(axis=0)
        return torch.from_numpy(((costs - low) / (high - low)).T.flatten()).float()

    def nearest(self, indices: Sequence[int], count: int) -> list[tuple[int, ...]]:
        """The networks of a pool that were not asked for and differ from this one in the fewest choices, `count`."""
        away = self._away(indices)
        away[self.rows] = away.max() + 1
        rows = np.argsort(away, kind="stable")[: min(count, len(away) - len(self._asked))]
        return [tuple(row) for row in self._indices[rows].tolist()]

    def drawn(self, random: Random) -> tuple[int, ...]:
        """A uniformly random network: of a pool one of its rows, else of the space."""
        if self.pool:
            return tuple(self._indices[random.randrange(len(self._indices))].tolist())
        return tuple(random.randrange(size) for size in self.space.group_sizes)

    @cached_property
    def _indices(self) -> np.ndarray:
        """Option indices of the rows, int64 [n, G]."""
        return np.array([self.space.parse(text).indices for text in self._architectures])

    def _away(self, indices: Sequence[int]) -> np.ndarray:
        """In how many choices each row differs from a network, [n]."""
        canonical = self.space.canonical(self.space.onehot(torch.tensor([list(indices)])))
        found: np.ndarray = (self._indices != self.space.indices(canonical)[0].numpy()).sum(axis=1)
        return found

    def _row(self, indices: Sequence[int]) -> int:
        text = self.space.format(indices)
        if not self.pool or text in self._row_of:
            return self._row_of[text]
        nearest = self.nearest(indices, 1)
        return self._row_of[self.space.format(nearest[0])] if nearest else int(self._away(indices).argmin())
