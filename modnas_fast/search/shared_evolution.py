"""Black-box searches whose every evaluated network serves all devices: the rivals of a search with shared weights.

A quality is the same on every device and costs are predicted for all, so what was evaluated for one device is an
answer, and a parent, for the others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modnas_fast.search.refine import MUTATIONS, Archive
from modnas_fast.spaces import SearchSpace

#: networks of a generation
CHILDREN = 4
#: of all networks, one in so many is random at first, and at least FIRST; few are best: on NAS-Bench-201 with 300
#: queries a thirtieth came to 0.983 of the hypervolume, a quarter to 0.981 (mean of five seeds)
FIRST_PART, FIRST = 20, 8
#: proposals in a row that may add nothing before a search ends: the space may have no more networks
PATIENCE = 50

SharedSearch = Callable[[SearchSpace, Archive, torch.Generator], None]


def shared_random_search(space: SearchSpace, archive: Archive, generator: torch.Generator) -> None:
    """Fills the archive with uniformly random networks."""
    _fill(archive, archive.most, lambda: space.sample(min(CHILDREN, archive.most - len(archive)), generator))


def shared_evolution(space: SearchSpace, archive: Archive, generator: torch.Generator) -> None:
    """Fills the archive with mutations of networks that are on the front of some device, after a few random ones.

    Parents are drawn uniformly from the union of the devices' fronts; one or two random choices change.
    """

    def children() -> Tensor:
        drawn = torch.randint(len(archive.front), (CHILDREN,), generator=generator)
        changes = MUTATIONS[int(torch.randint(len(MUTATIONS), (1,), generator=generator))]
        return space.mutate(archive.onehot[archive.front[drawn]], changes, generator)

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


#: by name
SHARED_SEARCHES: dict[str, SharedSearch] = {"random": shared_random_search, "evolution": shared_evolution}
