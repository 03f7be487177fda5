"""The names that published tables give the parts of MobileNetV3s: Once-for-All's own, and those of NSGANetV2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from modnas_fast.spaces.mobilenetv3.scales import Scale, middle_channels


class Names(NamedTuple):
    """Templates of the keys. `expand` is a block's channels inside, or their ratio to those that it takes."""

    stem: str
    block: str
    expand: Literal["channels", "ratio"]
    #: the last expansion, the pooling (empty: not apart), the feature mix, and how the classifier's key begins
    final: str
    pool: str
    mix: str
    classifier: str


_CONVOLUTION = "-input:{a}x{a}x{taken}-output:{b}x{b}x{given}"
_BLOCK = f"{_CONVOLUTION}-expand:{{expand}}-kernel:{{kernel}}-stride:{{stride}}-idskip:{{skip}}-se:{{se}}"

TUTORIAL = Names(
    stem=f"Conv{_CONVOLUTION}",
    block=f"expanded_conv{_BLOCK}-hs:{{hs}}",
    expand="channels",
    final=f"Conv_1{_CONVOLUTION}",
    pool="AvgPool2D-input:{a}x{a}x{taken}-output:1x1x{taken}",
    mix=f"Conv_2{_CONVOLUTION}",
    classifier="Logits-input:1x1x{taken}-output:",
)
NSGANETV2 = Names(
    stem=f"first_conv{_CONVOLUTION}",
    block=f"MBConv{_BLOCK}",
    expand="ratio",
    final=f"final_expand_layer{_CONVOLUTION}",
    pool="",
    mix=f"feature_mix_layer{_CONVOLUTION}",
    classifier="classifier-input:{taken}-output:",
)
#: how an image enters all of them
COLOURS = 3


class Block(NamedTuple):
    """One possible block: its stage, whether it is the first one there, its options' indices, and its key."""

    stage: int
    first: bool
    kernel: int
    expansion: int
    key: str


def stem_of(names: Names, scale: Scale, resolution: int) -> str:
    """Key of the first convolution."""
    return names.stem.format(a=resolution, taken=COLOURS, b=scale.sides(resolution)[0], given=scale.stem_channels)


def fixed_parts(names: Names, scale: Scale, resolution: int) -> list[str]:
    """Keys of what all networks of a resolution have; that of the classifier is how it begins."""
    first, *_, last = scale.sides(resolution)
    stages, final, mix = scale.stage_channels, scale.final_channels, scale.mix_channels
    expand = scale.stem_channels if names.expand == "channels" else 1
    whole = scale.stem_channels == scale.first_channels
    return [
        stem_of(names, scale, resolution),
        names.block.format(
            a=first,
            taken=scale.stem_channels,
            b=first,
            given=scale.first_channels,
            expand=expand,
            kernel=3,
            stride=1,
            skip=int(whole),
            se=0,
            hs=0,
        ),
        names.final.format(a=last, taken=stages[-1], b=last, given=final),
        *([names.pool.format(a=last, taken=final)] if names.pool else []),
        names.mix.format(a=1, taken=final, b=1, given=mix),
        names.classifier.format(taken=mix),
    ]


def blocks(names: Names, scale: Scale, resolution: int) -> Iterator[Block]:
    """Every block that some network of a resolution has."""
    sides = scale.sides(resolution)
    for stage, (stride, activation, se) in enumerate(zip(scale.strides, scale.activations, scale.squeezes)):
        for first in (True, False) if scale.layers > 1 else (True,):
            taken, given = scale.channels_into(stage, 0 if first else 1), scale.stage_channels[stage]
            step = stride if first else 1
            for e, expansion in enumerate(scale.expansions):
                for k, kernel in enumerate(scale.kernels):
                    inside = middle_channels(taken, expansion)
                    key = names.block.format(
                        a=sides[stage if first else stage + 1],
                        taken=taken,
                        b=sides[stage + 1],
                        given=given,
                        expand=inside if names.expand == "channels" else expansion,
                        kernel=kernel,
                        stride=step,
                        skip=int(step == 1 and taken == given),
                        se=int(se),
                        hs=int(activation == "hswish"),
                    )
                    yield Block(stage, first, k, e, key)
