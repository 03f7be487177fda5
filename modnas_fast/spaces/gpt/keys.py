"""The keys of the configuration's section `space` for GPTs; light to load."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modnas_fast.config.section import SpaceKeys

Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class GPTKeys(SpaceKeys):
    """The choices of GPTs: a scale, and what is to differ from it."""

    of_supernet: ClassVar[tuple[str, ...]] = ("checkpoint",)
    paths: ClassVar[tuple[str, ...]] = ("checkpoint",)
    of_space: ClassVar[tuple[str, ...]] = ("scale", "widths", "depths", "ratios", "heads", "head_size")

    scale: Literal["small", "s", "m", "l"] = "small"
    """s, m and l are those of HW-GPT-Bench; small is for a CPU."""
    widths: Sizes | None = None
    """e, channels of the embedding, rising; None: the scale's."""
    depths: Sizes | None = None
    """Layers, rising; None: the scale's."""
    ratios: Sizes | None = None
    """Hidden channels of a layer's MLP as multiples of its width, rising; None: the scale's."""
    heads: Sizes | None = None
    """Attention heads of a layer, rising; None: the scale's."""
    head_size: Annotated[int, Field(ge=4, multiple_of=4)] | None = None
    """Channels of a head, whatever the width; None: the scale's (64; small: 16)."""
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    """A file with the weights of a pretrained supernet of this scale, by their official keys: .safetensors, or what
    torch.save wrote; None: w begins at random."""
