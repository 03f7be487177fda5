"""Black-box searches whose every evaluated network serves all devices: the rivals of a search with shared weights.

A quality is the same on every device and costs are predicted for all, so what was evaluated for one device is an
answer, and a parent, for the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from modnas_fast.evaluation.expected_gain import expected_gains
from modnas_fast.search.refine import MUTATIONS, Archive
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.surrogate import make_fit

#: networks of a generation
CHILDREN = 4
#: of all networks, one in so many is random at first, and at least FIRST; few are best: on NAS-Bench-201 with 300
#: queries a thirtieth came to 0.983 of the hypervolume, a quarter to 0.981 (mean of five seeds)
FIRST_PART, FIRST = 20, 8
#: proposals in a row that may add nothing before a search ends: the space may have no more networks
PATIENCE = 50
#: of the Gaussian process: mutations of each kind, and random networks, among which a round chooses; and rounds
CANDIDATES, ROUNDS = 500, 40
#: a quality that its logarithm takes in the place of 0
LEAST = 0.01

SharedSearch = Callable[[SearchSpace, Archive, torch.Generator], None]


def shared_random_search(space: SearchSpace, archive: Archive, generator: torch.Generator) -> None:
    """Fills the archive with uniformly random networks."""
    _fill(archive, archive.most, lambda: space.sample(min(CHILDREN, archive.most - len(archive)), generator))


def shared_evolution(space: SearchSpace, archive: Archive, generator: torch.Generator) -> None:
    """Fills the archive with mutations of networks that are on the front of some device, after a few random ones.

    Parents are drawn uniformly from the union of the devices' fronts; one or two random choices change.
    """

    def children() -> Tensor:
        parents = _parents(archive, CHILDREN, generator)
        changes = MUTATIONS[int(torch.randint(len(MUTATIONS), (1,), generator=generator))]
        return space.mutate(parents, changes, generator)

    first = min(archive.most, max(FIRST, archive.most // FIRST_PART))
    _fill(archive, first, lambda: space.sample(min(CHILDREN, first - len(archive)), generator))
    if len(archive):
        _fill(archive, archive.most, children)


def _fill(archive: Archive, size: int, propose: Callable[[], Tensor]) -> None:
    """Adds proposals until the archive has so many networks, or none of many is new."""
    in_vain = 0
    while len(archive) < size and in_vain < PATIENCE:
        before = len(archive)
        archive.add(propose())
        in_vain = 0 if len(archive) > before else in_vain + 1


def shared_gaussian_process(space: SearchSpace, archive: Archive, generator: torch.Generator) -> None:
    """Fills the archive with networks that promise the largest gain of hypervolume over all devices together.

    Qualities are believed as a Gaussian process tells them that is fitted to the archive anew in each round; candidates
    are mutations of networks that are on the front of some device, and random ones. For two objectives.
    """
    fit = make_fit("gaussian_process", space=space)

    def promising() -> Tensor:
        candidates: Tensor
        changed = [space.mutate(_parents(archive, CANDIDATES, generator), n, generator) for n in MUTATIONS]
        candidates = torch.unique(space.canonical(torch.cat([*changed, space.sample(CANDIDATES, generator)])), dim=0)
        candidates = candidates[space.viable(candidates) > 0.5]
        texts = [architecture.text for architecture in space.decode(candidates)]
        new = [row for row, text in enumerate(texts) if text not in archive.networks]
        candidates = candidates[new]
        if new:
            known = archive.qualities.clamp(min=LEAST)
            mean, deviation = fit(archive.onehot, known).optimistic(candidates, 0.0)
            costs = archive.costs_of(candidates, [texts[row] for row in new])[..., 0]
            gains = expected_gains(mean, deviation, costs, known, archive.costs[..., 0]).sum(1)
            candidates = candidates[gains.topk(min(batch, archive.most - len(archive), len(new))).indices]
        return candidates

    first = min(archive.most, max(FIRST, archive.most // FIRST_PART))
    _fill(archive, first, lambda: space.sample(min(CHILDREN, first - len(archive)), generator))
    batch = max(CHILDREN, math.ceil(archive.most / ROUNDS))
    if len(archive):
        _fill(archive, archive.most, promising)


def _parents(archive: Archive, count: int, generator: torch.Generator) -> Tensor:
    """Networks [count, N] drawn uniformly from the union of the devices' fronts."""
    drawn = torch.randint(len(archive.front), (count,), generator=generator)
    return archive.onehot[archive.front[drawn]]


#: by name
SHARED_SEARCHES: dict[str, SharedSearch] = {
    "random": shared_random_search,
    "evolution": shared_evolution,
    "gp": shared_gaussian_process,
}


def shared_searches(costs: int) -> dict[str, SharedSearch]:
    """Those of `SHARED_SEARCHES` that go with so many costs."""
    return {name: search for name, search in SHARED_SEARCHES.items() if name != "gp" or costs == 1}
