"""Steps through a search space on tuples of option indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from modnas_fast.baselines.problem import Problem

Network = tuple[int, ...]

#: proposals in a row that may be known before a random network is taken
PATIENCE = 20


def neighbours(problem: Problem, network: Sequence[int]) -> list[Network]:
    """All networks that differ from `network` in exactly one choice; of a pool as many of the nearest that are left."""
    sizes = problem.space.group_sizes
    if problem.pool:
        return problem.nearest(network, sum(sizes) - len(sizes))
    return [
        (*network[:group], option, *network[group + 1 :])
        for group, size in enumerate(sizes)
        for option in range(size)
        if option != network[group]
    ]


def unknown(problem: Problem, random: Random, propose: Callable[[], Network] | None = None) -> Network:
    """The first of a few proposals that was not evaluated yet; a random such network where all were.

    There must be one: it is for searches that have evaluations left.
    """
    if propose is not None:
        for _ in range(PATIENCE):
            network = propose()
            if not problem.knows(network):
                return network
    while problem.knows(network := problem.drawn(random)):
        pass
    return network
