"""Black-box searches where a judge tells the objectives of any network: nothing is a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import torch
from torch import Tensor

from modnas_fast.baselines.problem import BudgetSpent, Problem
from modnas_fast.evaluation.exact import ExactFront, Score
from modnas_fast.spaces import SearchSpace


class OpenProblem(Problem):
    """Objectives of networks by a judge, up to a number of distinct networks.

    Networks count by their canonical strings: two that differ only in what has no influence are one.

    Args:
        space: the search space.
        judge: objectives [n, M] of one-hots [n, N].
        budget: distinct networks that may be asked for.
        front: whose bounds normalise what the judge tells; None: it tells units.

    >>> from modnas_fast.spaces import make_space
    >>> space = make_space("hat")
    >>> problem = OpenProblem(space, lambda onehot: np.array([[1.0, 2.0]]), budget=2)
    >>> problem.evaluate(space.parse(space.references[0]).indices), problem.left, problem.rows == [space.references[0]]
    ((1.0, 2.0), 1, True)
    """

    pool = False

    def __init__(
        self,
        space: SearchSpace,
        judge: Callable[[Tensor], np.ndarray],
        budget: int,
        front: ExactFront | None = None,
    ) -> None:
        self.space = space
        self.budget = budget
        self._judge = judge
        self._front = front
        self._told: dict[str, tuple[float, ...]] = {}
        self.asked_at = []

    @property
    def num_objectives(self) -> int:
        return len(next(iter(self._told.values()))) if self._told else 2

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        if self._front is None:
            return np.zeros(self.num_objectives), np.ones(self.num_objectives)
        return self._front.low, self._front.high

    @property
    def rows(self) -> list[str]:  # type: ignore[override]  # networks have no row
        """Strings of the distinct networks in the order in which they were first asked for."""
        return list(self._told)

    @property
    def left(self) -> int:
        return self.budget - len(self._told)

    def score(self, front: ExactFront, count: int) -> Score:
        return front.score_points(np.array(list(self._told.values()))[:count])

    def knows(self, indices: Sequence[int]) -> bool:
        return self.space.format(indices) in self._told

    def evaluate(self, indices: Sequence[int]) -> tuple[float, ...]:
        text = self.space.format(indices)
        if text not in self._told:
            if not self.left:
                raise BudgetSpent(f"all {self.budget} evaluations are spent")
            found = self._judge(self.space.onehot(torch.tensor([list(indices)])))
            self._told[text] = tuple(found[0].tolist())
            self.asked_at.append(time.perf_counter())
        return self._told[text]

    def drawn(self, random: Random) -> tuple[int, ...]:
        return tuple(random.randrange(size) for size in self.space.group_sizes)
