"""Black-box searches among networks that a judge tells: what counts, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from modnas_fast.baselines import BASELINES, BudgetSpent, Problem
from modnas_fast.baselines.open_problem import OpenProblem
from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.spaces import make_space

SPACE = make_space("hat")


def judge(onehot: Tensor) -> np.ndarray:
    """Less of every choice is cheap, more is good."""
    size = SPACE.features(SPACE.canonical(onehot).double()).mean(-1)
    return torch.stack([1 - size, size**2], dim=-1).numpy()


def test_every_network_is_told_and_counted_once() -> None:
    problem = OpenProblem(SPACE, judge, 2)
    small, large = (architecture.indices for architecture in SPACE.ends or ())
    assert not problem.knows(small)
    first = problem.evaluate(small)
    assert first == tuple(judge(SPACE.onehot(torch.tensor([list(small)])))[0]) and problem.knows(small)
    # layers that are not there make no other network
    deeper = (*small[:8], 2, 2, *small[10:])
    assert SPACE.format(deeper) == SPACE.format(small) and problem.evaluate(deeper) == first
    assert (problem.left, problem.num_objectives) == (1, 2)
    problem.evaluate(large)
    assert problem.rows == [SPACE.format(small), SPACE.format(large)]
    with pytest.raises(BudgetSpent, match="all 2 evaluations are spent"):
        problem.evaluate(SPACE.parse(SPACE.references[2]).indices)


@pytest.mark.parametrize("method", ["random", "evolution", "local-search"])
def test_searches_spend_their_budget_and_are_scored(method: str) -> None:
    problem = OpenProblem(SPACE, judge, 80)
    BASELINES.find(method)(problem, 0)
    assert len(problem.rows) == len(set(problem.rows)) == 80 and problem.left == 0
    onehot = SPACE.encode([SPACE.parse(text) for text in problem.rows])
    values = torch.from_numpy(judge(onehot))
    front = ExactFront(values[:, 0], values[:, 1:], torch.ones(80) > 0)
    assert problem.score(front, 80).hypervolume <= ExactFront.score_points(front, values.numpy()).hypervolume + 1e-12
    assert problem.score(front, 24) == front.score_points(values[:24].numpy())


def test_a_known_space_with_a_judge_is_open() -> None:
    values = torch.rand(4, 2, generator=torch.Generator().manual_seed(0)).double()
    front = ExactFront(values[:, 0], values[:, 1:], torch.ones(4) > 0)
    known = KnownSpace(SPACE, "task", ("a",) * 4, {"phone": front}, judge=lambda device, onehot: judge(onehot))
    problem = Problem.on(known, "phone", 5000)
    assert isinstance(problem, OpenProblem) and problem.budget == 5000
    indices = SPACE.parse(SPACE.references[1]).indices
    assert problem.evaluate(indices) == tuple(judge(SPACE.onehot(torch.tensor([list(indices)])))[0])


def test_what_a_judge_tells_is_told_in_units() -> None:
    network = (SPACE.ends or ())[1].indices
    plain = OpenProblem(SPACE, judge, 2)
    told = plain.evaluate(network)
    assert plain.in_units(told) == told, "without a front the judge tells units"
    front = ExactFront(torch.tensor([10.0, 20.0]), torch.tensor([[3.0], [5.0]]), torch.ones(2) > 0)
    scaled = OpenProblem(SPACE, judge, 2, front)
    assert scaled.in_units(scaled.evaluate(network)) == pytest.approx((10 + 10 * told[0], 3 + 2 * told[1]))
    assert len(scaled.asked_at) == 1
