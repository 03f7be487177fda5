"""Progressive shrinking: the largest network is trained first, and choices become elastic one kind after the other.

Cai et al. 2020, "Once-for-All": small networks begin with weights that serve large ones already.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import SearchSpace


class Shrinking:
    """Which choices samples may make at a time; the others stand as in the largest network.

    Args:
        space: of nested networks, with an order of its choices, `shrinking`.
        shares: of the warm-up, one for each in that order, after which it may differ.

    Raises InputError for a space without, and for another number of shares.
    """

    def __init__(self, space: SearchSpace, shares: Sequence[float]) -> None:
        if space.ends is None or not space.shrinking:
            raise InputError(f"search.shrinking: space {space.name} has no order of its choices; leave it out")
        if len(shares) != len(space.shrinking):
            raise InputError(
                f"search.shrinking: wanted {len(space.shrinking)} shares, for {', '.join(space.shrinking)}, got "
                f"{list(shares)}"
            )
        self._largest = space.encode([space.ends[1]])  # [1, N]
        #: the share after which each option may be chosen, [N]
        self._since = torch.tensor(
            [
                max((s for name, s in zip(space.shrinking, shares) if choice.name.startswith(name)), default=0.0)
                for choice in space.choices
                for _ in choice.options
            ]
        )

    def restricted(self, onehot: Tensor, share: float) -> Tensor:
        """Samples [S, N] with what may not differ yet as in the largest network; `share` of the warm-up is over."""
        free = (self._since <= share).to(onehot)
        return onehot * free + self._largest.to(onehot) * (1 - free)
