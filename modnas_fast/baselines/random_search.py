"""Random search: the least that any search must beat."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor

from modnas_fast.baselines.moves import unknown
from modnas_fast.baselines.problem import Problem
from modnas_fast.spaces import SearchSpace


def random_architectures(space: SearchSpace, count: int, generator: torch.Generator) -> Tensor:
    """`count` uniformly drawn architectures, different as functions, canonical one-hots [count, N].

    Fewer where the space has not that many.
    """
    chosen: dict[tuple[float, ...], Tensor] = {}
    for _ in range(100):
        for row in space.canonical(space.sample(count, generator)):
            chosen.setdefault(tuple(row.tolist()), row)
        if len(chosen) >= count:
            break
    return torch.stack(list(chosen.values())[:count])


def random_search(problem: Problem, seed: int) -> None:
    """Evaluates uniformly random networks, each at most once."""
    random = Random(seed)
    while problem.left:
        problem.evaluate(unknown(problem, random))
