"""The counted black box: what an evaluation is, what it answers, and when it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from modnas_fast.baselines import BudgetSpent, Problem
from modnas_fast.devices.device import Device
from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.runtime.errors import InputError

FIRST, SECOND, THIRD = (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1), (4, 4, 4, 4, 4, 4)


@pytest.mark.parametrize("costs", [1, 2])
def test_answers_are_the_table_s_and_come_in_order(made_up: Any, costs: int) -> None:
    front = made_up.smooth(costs=costs)
    problem = Problem(made_up.space, made_up.architectures, front, 3)
    assert problem.num_objectives == 1 + costs
    for network in (THIRD, FIRST, SECOND):
        row = made_up.architectures.index(made_up.space.format(network))
        assert problem.evaluate(network) == tuple(front.values[row])
        assert problem.rows[-1] == row
    assert problem.rows == [15624, 0, 1]


def test_asking_again_is_free_and_one_more_is_refused(made_up: Any) -> None:
    problem = Problem(made_up.space, made_up.architectures, made_up.smooth(), 2)
    answer = problem.evaluate(FIRST)
    assert (problem.left, problem.knows(FIRST), problem.knows(SECOND)) == (1, True, False)
    assert problem.evaluate(FIRST) == answer and problem.left == 1
    problem.evaluate(SECOND)
    with pytest.raises(BudgetSpent, match="all 2 evaluations are spent"):
        problem.evaluate(THIRD)
    assert problem.evaluate(FIRST) == answer
    assert problem.rows == [0, 1] and problem.left == 0 and not problem.knows(THIRD)


def test_networks_that_differ_in_a_dead_edge_count_twice(made_up: Any) -> None:
    problem = Problem(made_up.space, made_up.architectures, made_up.smooth(), 5)
    problem.evaluate((0, 0, 0, 1, 0, 0))
    problem.evaluate((3, 0, 0, 1, 0, 0))  # the edge 0→1 leads nowhere
    assert problem.left == 3


def test_what_learned_nothing_is_never_worth_its_low_cost(made_up: Any) -> None:
    errors, costs = torch.linspace(10, 90, 15625), torch.linspace(9, 1, 15625)[:, None]
    front = ExactFront(errors, costs, errors < 50)
    problem = Problem(made_up.space, made_up.architectures, front, 5)
    error, cost = problem.evaluate(THIRD)
    assert error == pytest.approx(2, abs=1e-3) and cost == 1 and front.values[-1, 1] < 0


@pytest.mark.parametrize("budget", [0, -1, 15626])
def test_a_budget_that_cannot_be_spent(made_up: Any, budget: int) -> None:
    with pytest.raises(InputError, match=f"evaluations: wanted 1 to 15625.*{budget}"):
        Problem(made_up.space, made_up.architectures, made_up.smooth(), budget)


def test_in_a_pool_the_nearest_network_that_is_left_answers(made_up: Any) -> None:
    rows = [15624, 0, 5, 6, 1]
    front = made_up.smooth()
    pool = ExactFront(
        torch.from_numpy(front.values[rows, 0]), torch.from_numpy(front.values[rows, 1:]), torch.ones(5) > 0
    )
    texts = [made_up.architectures[row] for row in rows]
    problem = Problem(made_up.space, texts, pool, 4)
    assert problem.pool and not problem.knows(FIRST)
    assert problem.evaluate(FIRST) == tuple(pool.values[1]) and problem.knows(FIRST)
    away = (4, 4, 4, 4, 4, 1)  # not in the pool: the first row differs from it in one choice
    assert problem.evaluate(away) == tuple(pool.values[0]) and problem.rows == [1, 0]
    assert not problem.knows(away) and problem.left == 2, "the next one would answer a second time"
    problem.evaluate(away)
    problem.evaluate(away)
    assert problem.left == 0 and len(set(problem.rows)) == 4
    with pytest.raises(BudgetSpent):
        problem.evaluate(away)


def test_the_embedding_is_that_of_the_device(made_up: Any) -> None:
    front = made_up.smooth(costs=2)
    rows = [made_up.architectures.index(text) for text in made_up.space.references]
    values = {name: front.values[rows, 1 + column] + 1 for column, name in enumerate(("latency", "energy"))}
    device = Device.from_references("board", values, {"latency": "ms", "energy": "mJ"})
    problem = Problem(made_up.space, made_up.architectures, front, 5)
    np.testing.assert_allclose(problem.embedding.numpy(), device.embedding, atol=1e-6)


def test_objectives_are_told_in_units(made_up: Any) -> None:
    errors, costs = torch.linspace(10, 90, 15625), torch.linspace(9, 1, 15625)[:, None]
    front = ExactFront(errors, costs, torch.ones(15625) > 0)
    problem = Problem(made_up.space, made_up.architectures, front, 5)
    assert problem.in_units(problem.evaluate(FIRST)) == pytest.approx((10, 9))
    assert problem.in_units(problem.evaluate(THIRD)) == pytest.approx((90, 1)) and problem.left == 3


def test_a_device_that_the_table_lacks_is_refused(made_up: Any) -> None:
    known = KnownSpace(made_up.space, "cifar10", made_up.architectures, {"pixel3": made_up.smooth()})
    assert Problem.on(known, "pixel3", 3).left == 3
    with pytest.raises(InputError, match="device: unknown name 'pixel2'; did you mean pixel3. the table has pixel3"):
        Problem.on(known, "pixel2", 3)
