"""Every baseline: exactly its budget, the same again from its seed, and better than chance where there is a slope."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hw_gpt_bench import costs_of, networks

from modnas_fast.baselines import BASELINES, Problem
from modnas_fast.baselines.evolution import crowding_distance
from modnas_fast.baselines.moves import neighbours, unknown
from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.spaces import Choice, NB201Space
from modnas_fast.spaces.gpt.space import GPTSpace

#: evaluations after which each is ahead of random search: evolution needs some generations
INFORMED = {"nsga2": 200, "tpe": 80, "gp": 40, "local-search": 80, "evolution": 120}


def spent(made_up: Any, method: str, front: ExactFront, budget: int, seed: int = 0) -> list[int]:
    problem = Problem(made_up.space, made_up.architectures, front, budget)
    BASELINES[method](problem, seed)
    return problem.rows


@pytest.mark.parametrize("costs", [1, 2])
@pytest.mark.parametrize("method", BASELINES)
def test_the_budget_is_spent_and_a_seed_repeats(made_up: Any, method: str, costs: int) -> None:
    front = made_up.smooth(costs=costs)
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    settings = optuna.logging.get_verbosity(), torch.get_num_threads()
    rows = spent(made_up, method, front, 20)
    assert len(rows) == len(set(rows)) == 20
    assert spent(made_up, method, front, 20) == rows
    assert spent(made_up, method, front, 20, seed=1) != rows
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])
    assert np.random.get_state()[1].tolist() == states[2]
    assert (optuna.logging.get_verbosity(), torch.get_num_threads()) == settings
    assert optuna.exceptions.ExperimentalWarning not in [category for _, _, category, _, _ in warnings.filters]


@pytest.mark.parametrize("method", BASELINES)
def test_nothing_is_printed(made_up: Any, method: str, capfd: pytest.CaptureFixture[str]) -> None:
    spent(made_up, method, made_up.smooth(), 15)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", INFORMED)
def test_what_is_informed_beats_random_search(made_up: Any, method: str) -> None:
    fronts = [made_up.smooth(seed) for seed in range(3)]

    def mean(name: str) -> float:
        rows = [spent(made_up, name, front, INFORMED[method], seed) for seed, front in enumerate(fronts)]
        return float(np.mean([front.score(found).ratio for front, found in zip(fronts, rows)]))

    assert mean(method) > mean("random") + 0.02


def test_local_search_reaches_the_exact_front_of_a_separable_problem(made_up: Any) -> None:
    front = made_up.separable()
    assert len(front.rows) == 13
    assert front.score(spent(made_up, "local-search", front, 800)).ratio == pytest.approx(1)


@pytest.mark.parametrize("method", BASELINES)
def test_a_space_is_spent_to_its_last_network(method: str) -> None:
    class Small(NB201Space):
        """Ten networks: two operations on the edge 0→1, five on 0→3, none elsewhere."""

        choices = tuple(
            Choice(choice.name, choice.options[: {"edge_0_1": 2, "edge_0_3": 5}.get(choice.name, 1)])
            for choice in NB201Space.choices
        )
        references = tuple(NB201Space().format([0, 0, 0, option, 0, 0]) for option in range(5))

    space = Small()
    texts = [architecture.text for architecture in space.decode(space.enumerate())]
    values = torch.rand(2, 10, generator=torch.Generator().manual_seed(0))
    front = ExactFront(values[0], values[1][:, None], torch.ones(10, dtype=torch.bool))
    problem = Problem(space, texts, front, 10)
    BASELINES[method](problem, 0)
    assert sorted(problem.rows) == list(range(10))


def test_neighbours_differ_in_one_choice(made_up: Any) -> None:
    network = (0, 1, 2, 3, 4, 0)
    around = neighbours(Problem(made_up.space, made_up.architectures, made_up.smooth(), 5), network)
    assert len(around) == len(set(around)) == 24
    assert all(sum(a != b for a, b in zip(network, other)) == 1 for other in around)


@pytest.mark.parametrize("method", ["random", "random-hypernet", "nsga2", "local-search", "evolution"])
def test_of_a_pool_each_method_asks_for_its_networks_alone(method: str) -> None:
    space = GPTSpace("s")
    texts = networks("s", 60)
    values = torch.tensor([costs_of(text, 0)[:2] for text in texts])
    problem = Problem(space, texts, ExactFront(values[:, 0], values[:, 1:], torch.ones(60) > 0), 40)
    BASELINES[method](problem, 0)
    assert len(problem.rows) == len(set(problem.rows)) == 40


def test_neighbours_in_a_pool_are_the_nearest_that_are_left() -> None:
    space, texts = GPTSpace("s"), networks("s", 60)
    problem = Problem(space, texts, ExactFront(torch.rand(60), torch.rand(60, 1), torch.ones(60) > 0), 30)
    indices = [space.parse(text).indices for text in texts]
    network = indices[20]
    away = [sum(a != b for a, b in zip(network, other)) for other in indices]
    around = neighbours(problem, network)
    assert around[0] == network and [away[indices.index(n)] for n in around] == sorted(away)[: len(around)]
    problem.evaluate(network)
    assert neighbours(problem, network) == around[1:] + [n for n in neighbours(problem, network) if n not in around]


def test_unknown_proposals_are_taken_and_known_ones_replaced(made_up: Any) -> None:
    problem = Problem(made_up.space, made_up.architectures, made_up.smooth(), 5)
    network = (1, 1, 1, 1, 1, 1)
    assert unknown(problem, random.Random(0), lambda: network) == network
    problem.evaluate(network)
    assert not problem.knows(unknown(problem, random.Random(0), lambda: network))


def test_crowding_distance_by_hand() -> None:
    values = np.array([[3.0, 0.0], [0.0, 4.0], [1.0, 2.0], [2.0, 1.0]])
    np.testing.assert_allclose(crowding_distance(values), [np.inf, np.inf, 2 / 3 + 3 / 4, 2 / 3 + 2 / 4])
    assert crowding_distance(np.array([[1.0, 1.0]])).tolist() == [np.inf]
