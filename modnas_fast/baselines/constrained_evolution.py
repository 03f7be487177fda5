"""Evolutionary search under a budget of cost, once per device and budget: how Once-for-All specialises networks.

Cai et al., ICLR 2020, and their published code: a population of networks within the budget, the most accurate quarter
of which are parents of mutations and crossovers. The cost is free to ask; each network within the budget whose quality
is asked for counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from modnas_fast.spaces import SearchSpace

POPULATION, PARENTS, MUTATED, MUTATION = 100, 0.25, 0.5, 0.1
#: rounds of drawing networks until enough are within the budget
PATIENCE = 200


def constrained_evolution(
    space: SearchSpace,
    quality: Callable[[Tensor], Tensor],
    cost: Callable[[Tensor], Tensor],
    budget: float,
    evaluations: int,
    generator: torch.Generator,
    population: int = POPULATION,
) -> tuple[Tensor, Tensor]:
    """The networks that were asked for, canonical one-hots [n, N], and their qualities [n], to be minimised.

    Args:
        space: the search space.
        quality: of one-hots [n, N], [n].
        cost: the same.
        budget: the cost at most.
        evaluations: n at most; fewer where hardly any network is within the budget.
        generator: of everything random.
        population: networks of a generation.
    """

    def within(draw: Callable[[int], Tensor], count: int) -> Tensor:
        """`count` drawn networks within the budget, or as many as patience finds."""
        found = torch.empty(0, space.num_options)
        for _ in range(PATIENCE):
            if len(found) >= count:
                break
            drawn = space.canonical(draw(max(count, POPULATION)))
            found = torch.cat([found, drawn[cost(drawn) <= budget]])
        return found[:count]

    asked = within(lambda count: space.sample(count, generator), min(population, evaluations))
    values = quality(asked)
    alive, alive_values = asked, values
    while len(alive) and (left := evaluations - len(asked)) > 0:
        best = alive_values.argsort()[: max(1, round(PARENTS * population))]
        parents, mutated = alive[best], round(MUTATED * min(population, left))
        children = torch.cat(
            [
                within(partial(_mutated, space, parents, generator), mutated),
                within(partial(_crossed, space, parents, generator), min(population, left) - mutated),
            ]
        )
        if not len(children):
            break
        told = quality(children)
        asked, values = torch.cat([asked, children]), torch.cat([values, told])
        alive, alive_values = torch.cat([parents, children]), torch.cat([alive_values[best], told])
    return asked, values


def _drawn(parents: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return parents[torch.randint(len(parents), (count,), generator=generator)]


def _mutated(space: SearchSpace, parents: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """Parents in which every choice is drawn anew with probability `MUTATION`."""
    kept, new = space.indices(_drawn(parents, count, generator)), space.indices(space.sample(count, generator))
    return space.onehot(torch.where(torch.rand(kept.shape, generator=generator) < MUTATION, new, kept))


def _crossed(space: SearchSpace, parents: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """Networks that have each choice from one of two parents."""
    one, other = (space.indices(_drawn(parents, count, generator)) for _ in range(2))
    return space.onehot(torch.where(torch.rand(one.shape, generator=generator) < 0.5, one, other))
