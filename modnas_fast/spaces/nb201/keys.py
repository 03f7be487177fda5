"""The keys of the configuration's section `space` for NAS-Bench-201; light to load."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modnas_fast.config.section import SpaceKeys


class NB201Keys(SpaceKeys):
    """Width, depth and details of the networks of NAS-Bench-201."""

    of_supernet: ClassVar[tuple[str, ...]] = ("entangled", "affine")

    channels: Annotated[int, Field(ge=1, le=256)] = 8
    """C, channels of the first stage; paper: 16."""
    cells: Annotated[int, Field(ge=1, le=20)] = 1
    """N, cells per stage; paper: 5."""
    reduction: Literal["residual", "pool"] = "pool"
    """What halves the resolution between stages: a residual block (paper) or a 2×2 average and a 1×1 convolution."""
    entangled: bool = False
    """In the supernet, the 1×1 kernel of an edge is the centre of its 3×3 kernel; published code: True."""
    affine: bool = False
    """In the supernet, the batch normalisations of stem, reductions and last layer have scale and shift; published
    code: True."""
