"""Preferences drawn where answers are wanted: in regions that a user cares about, and where fronts have gaps.

Preferences lead to networks by way of what the search knows so far: the hypernetwork's answers, and in the refinement
the best networks known. From time to time the search looks at the answers to many preferences, and until the next look
draws more of those whose answers count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modnas_fast.method.preferences import Sampler, sobol
from modnas_fast.method.region import Region

#: preferences whose answers are looked at
LOOKED_AT = 512
#: steps of Φ between looks
LOOK_EVERY = 25


class Focus:
    """Preferences of T devices, a share of them drawn where answers are wanted.

    Args:
        base: draws the others, and all before the first look.
        share: of those that are drawn where answers are wanted.
        regions: those of each device, in the units of the answers' objectives; all of a device without any counts.
        gaps: whether preferences count by how far their answers are from those to neighbouring ones.
        num_objectives: M.
    """

    def __init__(
        self, base: Sampler, share: float, regions: Sequence[Sequence[Region]], gaps: bool, num_objectives: int
    ) -> None:
        self._base = base
        self._share = share
        self._regions = regions
        self._gaps = gaps
        self._num_objectives = num_objectives
        self._preferences = torch.empty(0, num_objectives)
        self._weights = torch.empty(len(regions), 0)

    def draw(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Preferences [t, M] of the devices with indices [t]."""
        r = self._base(len(chosen), generator)
        if not len(self._preferences):
            return r
        focused = torch.rand(len(chosen), 1, generator=generator) < self._share
        rows = torch.multinomial(self._weights[chosen], 1, generator=generator)[:, 0]
        return torch.where(focused, self._preferences[rows], r)

    def candidates(self, generator: torch.Generator) -> Tensor:
        """Preferences [K, M], spread evenly, at whose answers to look."""
        return sobol(LOOKED_AT, self._num_objectives, generator=generator)

    def look(self, preferences: Tensor, answers: Tensor) -> None:
        """Takes the objectives [T, K, M] of the answers to preferences [K, M]; NaN for those not known."""
        weights = []
        for values, regions in zip(answers, self._regions, strict=True):
            row = gaps_around(preferences, values) if self._gaps else torch.ones(len(preferences))
            inside = _nearest(preferences, values, regions)
            row = row * inside
            weights.append(row if row.sum() > 0 else inside)  # where all answers of a region are one network
        self._preferences, self._weights = preferences, torch.stack(weights).float()

    def state_dict(self) -> dict[str, Any]:
        """Of the last look."""
        return {"preferences": self._preferences, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self._preferences, self._weights = state["preferences"], state["weights"]


def _nearest(preferences: Tensor, values: Tensor, regions: Sequence[Region]) -> Tensor:
    """1 for preferences whose answers are within one of the regions, or where none is, nearest to one; else 0, [K]."""
    if not regions:
        return torch.ones(len(preferences))
    outside = torch.stack([region.outside(preferences, values) for region in regions]).amin(dim=0)
    return (outside <= outside.min()).float()


def gaps_around(preferences: Tensor, values: Tensor) -> Tensor:
    """How far the answers [K, M] to preferences [K, M] are from those to their nearest neighbours, at most, [K].

    Neighbours are 2 (M − 1) preferences: to both sides of two objectives' line. Distances are sums over objectives,
    each in the range of all answers. A network in a gap between two answers is best for preferences between theirs.

    >>> r = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    >>> gaps_around(r, torch.tensor([[9.0, 1.0], [9.0, 1.0], [9.0, 1.0], [5.0, 2.0]]))
    tensor([0., 0., 2., 2.])
    """
    low, high = values.nan_to_num(nan=float("inf")).amin(0), values.nan_to_num(nan=-float("inf")).amax(0)
    scaled = ((values - low) / (high - low).clamp(min=1e-12)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    count = min(2 * (preferences.shape[1] - 1), len(preferences) - 1)
    apart = torch.cdist(preferences, preferences).fill_diagonal_(float("inf"))
    neighbours = apart.topk(count, dim=1, largest=False).indices
    return (scaled[:, None] - scaled[neighbours]).abs().sum(-1).amax(-1)
