"""Networks spread evenly over the range of a cost, on which the supernet's shared weights are trained.

Uniformly random choices crowd in the middle of the range. Large networks are rare among them; the shared weights then
serve mean networks, and what large ones could do with their cost does not show.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import SearchSpace

BINS = 20
#: share of the candidates at the upper end that fall into the last bin whatever they cost
TAIL = 0.005


def ends_of(space: SearchSpace) -> Tensor:
    """The smallest and the largest network [2, N] of a space of nested networks. Raises InputError for another."""
    if space.ends is None:
        raise InputError(f"search.sandwich: networks of space {space.name} are not nested in each other; leave it out")
    return space.encode(space.ends)


class CostSpread:
    """Draws candidates so that each of `BINS` equal intervals of the cost comes up equally often.

    Args:
        onehot: distinct candidates, [n, N].
        costs: their costs in any unit, [n].

    >>> spread = CostSpread(torch.eye(4), torch.tensor([0.0, 0.0, 0.0, 1.0]))
    >>> drawn = spread.sample(1000, torch.Generator().manual_seed(0))
    >>> 0.45 < float(drawn[:, 3].mean()) < 0.55
    True
    """

    def __init__(self, onehot: Tensor, costs: Tensor) -> None:
        low, high = costs.min(), costs.quantile(1 - TAIL)
        share = (costs - low) / (high - low).clamp(min=1e-9)
        bins = (BINS * share).long().clamp(max=BINS - 1)
        self._onehot = onehot
        self._weights = 1 / bins.bincount()[bins]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Candidates [count, N], drawn with replacement."""
        return self._onehot[torch.multinomial(self._weights, count, replacement=True, generator=generator)]
