"""The keys of the configuration's section `space` for the HAT space; light to load."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modnas_fast.config.section import SpaceKeys

Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class HATKeys(SpaceKeys):
    """The choices of encoder-decoders: a scale, and what is to differ from it."""

    of_supernet: ClassVar[tuple[str, ...]] = ("checkpoint",)
    paths: ClassVar[tuple[str, ...]] = ("checkpoint",)
    of_space: ClassVar[tuple[str, ...]] = (
        "scale",
        "encoder_widths",
        "decoder_widths",
        "encoder_depths",
        "decoder_depths",
        "encoder_ffns",
        "decoder_ffns",
        "encoder_heads",
        "decoder_heads",
        "cross_heads",
        "reaches",
        "inner",
    )

    scale: Literal["small", "space0", "space1"] = "small"
    """space0 (WMT) and space1 (with smaller layers besides) are HAT's; small is for a CPU."""
    encoder_widths: Sizes | None = None
    """Channels of the encoder, rising; None, here and below: the scale's."""
    decoder_widths: Sizes | None = None
    """Channels of the decoder, rising."""
    encoder_depths: Sizes | None = None
    """Layers of the encoder, rising."""
    decoder_depths: Sizes | None = None
    """Layers of the decoder, rising."""
    encoder_ffns: Sizes | None = None
    """Hidden channels of an encoder layer's feed-forward part, rising."""
    decoder_ffns: Sizes | None = None
    """The same of the decoder."""
    encoder_heads: Sizes | None = None
    """Attention heads of an encoder layer, rising; they share `inner` channels."""
    decoder_heads: Sizes | None = None
    """The same of a decoder layer's attention to its own tokens."""
    cross_heads: Sizes | None = None
    """The same of its attention to the encoder."""
    reaches: Sizes | None = None
    """How many of the last encoder layers a decoder layer attends to, rising; HAT's −1, 1, 2 are 1, 2, 3 here."""
    inner: Annotated[int, Field(ge=2)] | None = None
    """Channels of queries, keys and values of a layer, whatever its width (512; small: 128)."""
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    """A file with the weights of a pretrained supernet of this scale, by fairseq's keys: what fairseq or torch.save
    wrote, or .safetensors; None: w begins at random."""
