"""Queries of true qualities where any network of the space may be asked for, not those of a table alone.

Which ones is chosen round by round, as in `tasks.surrogate`; but the candidates are no fixed list: they are looked for
by mutations of the networks on the devices' fronts (Real et al. 2019), as the surrogate tells them by then,
optimistically. So what is asked lies where the answers will, which may be far from random networks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.surrogate import (
    FIRST_SHARE,
    OPTIMISM,
    CountedTruth,
    Emphasis,
    ErrorSurrogate,
    Fit,
    Regression,
    promising,
)

#: rounds after the first, random networks
ROUNDS = 20
#: of candidates in a round, mutations in each, and choices that they change, at most
GENERATIONS, CHILDREN, CHANGES = 12, 600, 3
#: standard deviations below the mean that candidates are looked for by: where little is known, too
LOOKED_FOR = 2.0


def query_anywhere(
    space: SearchSpace,
    truth: CountedTruth,
    start: Tensor,
    costs: Callable[[Tensor], Tensor],
    seed: int,
    on_query: Callable[[int], None] = lambda done: None,
    fit: Fit = ErrorSurrogate,
    counts: Emphasis | None = None,
) -> Regression:
    """Spends the budget of `truth` on networks near the devices' fronts; the surrogate of all that is known then.

    Args:
        space: the search space.
        truth: counts; what it knows already, from an earlier process, is used and not asked again.
        start: canonical one-hots [n, N] of random networks, of which the first are asked for.
        costs: of canonical one-hots [n, N] on the search devices, [n, T, C].
        seed: of random networks and mutations.
        on_query: called with the number of networks known.
        fit: makes the surrogate of what is known.
        counts: how much each place on the devices' fronts does; None: all alike.
    """
    generator = torch.Generator().manual_seed(seed)
    if not truth.known:
        truth(start[torch.randperm(len(start), generator=generator)[: max(4, round(FIRST_SHARE * truth.budget))]])
    choices, batch = truth.left, max(1, -(-truth.left // ROUNDS))
    candidates = start
    while True:
        on_query(len(truth.known))
        known = space.canonical(space.encode([space.parse(text) for text in truth.known]))
        errors = torch.tensor(list(truth.known.values()), dtype=torch.float64)
        surrogate = fit(known, errors)
        if truth.left <= 0:
            return surrogate
        count = min(batch, truth.left)
        share = (truth.left - count) / max(choices - batch, 1)  # 1 in the first round, 0 in the last
        candidates = torch.cat([known, _evolved(space, surrogate, costs, torch.cat([known, candidates]), generator)])
        candidates, first = _distinct(candidates, len(known))
        estimate = surrogate.optimistic(candidates, OPTIMISM * share)
        truth(candidates[promising(estimate, costs(candidates), first, errors, count, generator, counts)])


def _distinct(onehot: Tensor, known: int) -> tuple[Tensor, Tensor]:
    """Of one-hots [n, N] whose first `known` differ, those that differ; and where the first stand among them."""
    distinct, places = torch.unique(onehot, dim=0, return_inverse=True)
    return distinct, places[:known]


@torch.no_grad()
def _evolved(
    space: SearchSpace,
    surrogate: Regression,
    costs: Callable[[Tensor], Tensor],
    onehot: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Networks on the fronts of the devices, and those of the last generation, [n, N]."""
    onehot, _ = _distinct(onehot, 0)
    error, cost = surrogate.optimistic(onehot, LOOKED_FOR)[0], costs(onehot)
    for _ in range(GENERATIONS):
        best = front_membership(error, cost).any(dim=1)
        onehot, error, cost = onehot[best], error[best], cost[best]
        parents = onehot[torch.randint(len(onehot), (CHILDREN,), generator=generator)]
        changed = [
            space.mutate(part, changes, generator) for changes, part in enumerate(parents.chunk(CHANGES), start=1)
        ]
        children = space.canonical(torch.cat(changed))
        children = children[space.viable(children) > 0.5]
        onehot = torch.cat([onehot, children])
        told, _ = surrogate.optimistic(children, LOOKED_FOR)
        error, cost = torch.cat([error, told]), torch.cat([cost, costs(children)])
    return onehot
