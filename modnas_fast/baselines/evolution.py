"""Regularised evolution (Real et al. 2019) for several objectives: parents by rank and crowding (Deb et al. 2002)."""

from __future__ import annotations

from collections import deque
from functools import partial
from random import Random

import moocore
import numpy as np

from modnas_fast.baselines.moves import Network, neighbours, unknown
from modnas_fast.baselines.problem import Problem


def regularised_evolution(problem: Problem, seed: int, population: int = 50, tournament: int = 10) -> None:
    """Evaluates mutations, one changed choice each, of the best of a few drawn from the `population` last networks.

    The best of the `tournament` drawn is the one of lowest non-dominated rank in the population, among equals the
    one with most room around it.
    """
    random = Random(seed)
    alive: deque[tuple[Network, tuple[float, ...]]] = deque(maxlen=population)

    def ask(network: Network) -> None:
        alive.append((network, problem.evaluate(network)))

    while problem.left:
        if len(alive) < population:
            ask(unknown(problem, random))
            continue
        order = _fitness_order(np.array([values for _, values in alive]))
        drawn = random.sample(range(population), tournament)
        parent = alive[min(drawn, key=lambda position: order[position])][0]
        children = neighbours(problem, parent)
        ask(unknown(problem, random, partial(random.choice, children)))


def _fitness_order(values: np.ndarray) -> np.ndarray:
    """Position of each of the values [n, M] when sorted by rank, then by falling crowding distance: [n]."""
    rank = moocore.pareto_rank(values)
    room = np.empty(len(values))
    for level in np.unique(rank):
        room[rank == level] = crowding_distance(values[rank == level])
    return np.lexsort((-room, rank)).argsort()


def crowding_distance(values: np.ndarray) -> np.ndarray:
    """NSGA-II's distance between the two neighbours of each of the values [n, M], summed over objectives: [n].

    Infinite at the ends of an objective.

    >>> crowding_distance(np.array([[0.0, 1.0], [0.25, 0.5], [1.0, 0.0]]))
    array([inf,  2., inf])
    """
    total = np.zeros(len(values))
    for column in values.T:
        order = column.argsort(kind="stable")
        extent = np.ptp(column) or 1.0
        gaps = np.full(len(values), np.inf)
        gaps[1:-1] = (column[order[2:]] - column[order[:-2]]) / extent
        total[order] += gaps
    return total
