"""The scales of the HAT space: which widths, depths, heads and reaches its networks may have."""

from __future__ import annotations

from dataclasses import dataclass, fields

from modnas_fast.runtime.errors import InputError


@dataclass(frozen=True)
class Scale:
    """The options of every choice, each rising, so that networks are prefixes of the largest."""

    #: d_e, channels of the encoder
    encoder_widths: tuple[int, ...]
    #: d_d, channels of the decoder
    decoder_widths: tuple[int, ...]
    encoder_depths: tuple[int, ...]
    #: ℓ_d
    decoder_depths: tuple[int, ...]
    #: hidden channels of a layer's feed-forward part
    encoder_ffns: tuple[int, ...]
    decoder_ffns: tuple[int, ...]
    #: attention heads of a layer, which share `inner` among them
    encoder_heads: tuple[int, ...]
    decoder_heads: tuple[int, ...]
    #: the same of the attention from decoder to encoder
    cross_heads: tuple[int, ...]
    #: how many of the last encoder layers a decoder layer attends to; HAT calls 1, 2 and 3 −1, 1 and 2
    reaches: tuple[int, ...]
    #: channels of all queries, keys or values of a layer, whatever its width is
    inner: int

    def __post_init__(self) -> None:
        for field in fields(self):
            options = getattr(self, field.name)
            if field.name != "inner" and (list(options) != sorted(set(options)) or not options or options[0] < 1):
                raise InputError(f"space.{field.name}: wanted rising whole numbers from 1 on, got {list(options)}")
        for name in ("encoder_heads", "decoder_heads", "cross_heads"):
            if any(self.inner % heads for heads in getattr(self, name)):
                raise InputError(
                    f"space.{name}: wanted divisors of inner, {self.inner}, got {list(getattr(self, name))}"
                )
        if self.reaches[-1] > self.encoder_depths[0]:
            raise InputError(
                f"space.reaches: wanted at most the {self.encoder_depths[0]} layers of the shallowest encoder, got "
                f"{self.reaches[-1]}"
            )

    @property
    def encoder_layers(self) -> int:
        """Of the deepest network."""
        return self.encoder_depths[-1]

    @property
    def decoder_layers(self) -> int:
        """Of the deepest network."""
        return self.decoder_depths[-1]


_HEADS = (4, 8)
_FFNS = (1024, 2048, 3072)
_WIDTHS = (512, 640)
_DEPTHS = (1, 2, 3, 4, 5, 6)

#: space0 (WMT) and space1 are HAT's; small is for a CPU
SCALES = {
    "small": Scale(
        encoder_widths=(64, 96, 128),
        decoder_widths=(64, 96, 128),
        encoder_depths=(3,),
        decoder_depths=(1, 2, 3),
        encoder_ffns=(64, 128, 256),
        decoder_ffns=(64, 128, 256),
        encoder_heads=(2, 4),
        decoder_heads=(2, 4),
        cross_heads=(2, 4),
        reaches=(1, 2, 3),
        inner=128,
    ),
    "space0": Scale(
        _WIDTHS, _WIDTHS, (6,), _DEPTHS, _FFNS, _FFNS, _HEADS, _HEADS, _HEADS, reaches=(1, 2, 3), inner=512
    ),
    "space1": Scale(
        _WIDTHS,
        _WIDTHS,
        (6,),
        _DEPTHS,
        (512, *_FFNS),
        (512, *_FFNS),
        (2, *_HEADS),
        (2, *_HEADS),
        (2, *_HEADS),
        reaches=(1, 2, 3),
        inner=512,
    ),
}
