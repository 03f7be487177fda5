"""Steps through a search space on tuples of option indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from modnas_fast.baselines.problem import Problem
from modnas_fast.spaces import SearchSpace

Network = tuple[int, ...]

#: proposals in a row that may be known before a random network is taken
PATIENCE = 20


def drawn(space: SearchSpace, random: Random) -> Network:
    """A uniformly random network."""
    return tuple(random.randrange(size) for size in space.group_sizes)


def neighbours(space: SearchSpace, network: Sequence[int]) -> list[Network]:
    """All networks that differ from `network` in exactly one choice."""
    return [
        (*network[:group], option, *network[group + 1 :])
        for group, size in enumerate(space.group_sizes)
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
    while problem.knows(network := drawn(problem.space, random)):
        pass
    return network
