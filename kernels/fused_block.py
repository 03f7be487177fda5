"""What the ways to compute a fused block, compiled and by Triton, have in common; needs no Triton."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

#: numbers that stand for activations
ACTIVATIONS = {None: 0, "relu": 1, "hswish": 2}


class Found(NamedTuple):
    """The result of a block."""

    y: Tensor
    mean: Tensor
    variance: Tensor
    saved: tuple[Tensor | None, ...]
    """What `backward` needs: x, taps, scale, shift, mean, variance, z."""
