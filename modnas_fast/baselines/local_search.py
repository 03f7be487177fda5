"""Pareto local search (Paquete, Chiarandini & Stützle 2004; for architectures: White, Nolen & Savani 2021)."""

from __future__ import annotations

from random import Random

import moocore
import numpy as np

from modnas_fast.baselines.moves import Network, neighbours, unknown
from modnas_fast.baselines.problem import Problem


def local_search(problem: Problem, seed: int, start: int = 24) -> None:
    """Evaluates neighbours of networks that nothing known dominates, after `start` random networks.

    One neighbour at a time, of a non-dominated network drawn anew each time: with few evaluations that finds more
    than all neighbours of one network at a time. Where all neighbours are known, random networks follow.
    """
    random = Random(seed)
    known: dict[Network, tuple[float, ...]] = {}
    while problem.left:
        network = _next_neighbour(problem, known, random) if len(known) >= start else None
        network = network or unknown(problem, random)
        known[network] = problem.evaluate(network)


def _next_neighbour(problem: Problem, known: dict[Network, tuple[float, ...]], random: Random) -> Network | None:
    """A random unknown neighbour of a random non-dominated network; None where there is none."""
    networks = list(known)
    best = np.flatnonzero(moocore.is_nondominated(np.array(list(known.values())), keep_weakly=True)).tolist()
    random.shuffle(best)
    for position in best:
        around = [network for network in neighbours(problem, networks[position]) if network not in known]
        if around:
            return random.choice(around)
    return None
