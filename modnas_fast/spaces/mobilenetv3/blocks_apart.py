"""Every part of a space's networks as a module of its own, by the name that a table of blocks gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from modnas_fast.spaces.mobilenetv3.block_names import COLOURS, TUTORIAL, blocks, fixed_parts
from modnas_fast.spaces.mobilenetv3.network import Block, Bottleneck, Classifier, Convolution, FeatureMix
from modnas_fast.spaces.mobilenetv3.scales import Scale, middle_channels
from modnas_fast.spaces.parts import Part

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space


class Pool(nn.Module):
    """Mean over all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class Flat(nn.Module):
    """A classifier of one pixel."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(x.flatten(1))
        return y


def parts_of(space: MobileNetV3Space, classes: int) -> Iterator[Part]:
    """Each part once, resolution after resolution."""
    scale, known = space.scale, set[str]()
    for resolution in scale.resolutions:
        for part in (*_fixed(scale, resolution, classes), *_blocks(scale, resolution)):
            if part.key not in known:
                known.add(part.key)
                yield part


def _fixed(scale: Scale, resolution: int, classes: int) -> Iterator[Part]:
    stem, first, pixel = scale.stem_channels, scale.first_channels, (1, 1)
    *keys, classifier = fixed_parts(TUTORIAL, scale, resolution)
    side, *_, last = ((side, side) for side in scale.sides(resolution))
    final, mix = scale.final_channels, scale.mix_channels
    modules = (
        (Convolution(COLOURS, stem, 3, 2, "hswish"), (COLOURS, resolution, resolution)),
        (Block(Bottleneck(stem, None, first, 3, 1, "relu"), residual=stem == first), (stem, *side)),
        (Convolution(scale.stage_channels[-1], final, activation="hswish"), (scale.stage_channels[-1], *last)),
        (Pool(), (final, *last)),
        (FeatureMix(final, mix), (final, *pixel)),
        (Flat(Classifier(mix, classes)), (mix, *pixel)),
    )
    for key, (module, shape) in zip((*keys, f"{classifier}{classes}"), modules, strict=True):
        yield Part(key, module, shape)


def _blocks(scale: Scale, resolution: int) -> Iterator[Part]:
    sides = scale.sides(resolution)
    for block in blocks(TUTORIAL, scale, resolution):
        stage, layer = block.stage, 0 if block.first else 1
        taken, given = scale.channels_into(stage, layer), scale.stage_channels[stage]
        stride = scale.strides[stage] if block.first else 1
        conv = Bottleneck(
            taken,
            middle_channels(taken, scale.expansions[block.expansion]),
            given,
            scale.kernels[block.kernel],
            stride,
            scale.activations[stage],
            scale.squeezes[stage],
        )
        side = sides[stage if block.first else stage + 1]
        yield Part(block.key, Block(conv, residual=stride == 1 and taken == given), (taken, side, side))
