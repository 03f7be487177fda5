"""Masks of prefixes: which of the largest number of channels, heads or layers each option of a choice uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def prefixes(sizes: Sequence[int], like: Tensor) -> Tensor:
    """[options, largest] in the format and on the device of `like`: 1 where a place is among the first of each size.

    >>> prefixes((1, 3), torch.empty(0)).tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    counts = torch.tensor(sizes, device=like.device)
    return (torch.arange(sizes[-1], device=like.device) < counts[:, None]).to(like)
