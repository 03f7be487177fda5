"""Blocks as modules of their own: a network's are those of the table by its sums, and they do what the network does."""

from __future__ import annotations

import torch
from torch import nn

from modnas_fast.spaces.mobilenetv3.block_names import TUTORIAL, blocks, fixed_parts
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space("small", resolutions=(64, 72), width=0.25, expansions=(3, 4, 6), depths=(2, 3, 4))


def test_every_part_of_the_sums_is_there_once_and_runs() -> None:
    parts = list(SPACE.parts(classes=7))
    wanted = set()
    for side in (64, 72):
        *fixed, classifier = fixed_parts(TUTORIAL, SPACE.scale, side)
        wanted |= {*fixed, f"{classifier}7", *(block.key for block in blocks(TUTORIAL, SPACE.scale, side))}
    assert {part.key for part in parts} == wanted and len(parts) == len(wanted)
    for part in parts:
        x = torch.zeros(1, *part.input_shape, device="meta")
        shape = list(part.module.to("meta").eval()(x).shape[1:])
        given = part.key.partition("-output:")[2].partition("-")[0]
        sizes = [int(size) for size in given.split("x")]
        assert shape == ([*sizes[2:], *sizes[:2]] if len(sizes) == 3 else sizes), part.key


def test_sums_of_parameters_are_those_of_the_network() -> None:
    numbers = {part.key: sum(p.numel() for p in part.module.parameters()) for part in SPACE.parts(classes=7)}
    network = SPACE.parse("r72_k3.5-7.3.3-3.3-5.7.3.5-3.3.3_e3.4-6.3.4-3.3-6.6.6.6-4.4.4")
    shape, scale = SPACE.shape(network.indices), SPACE.scale
    *fixed, classifier = fixed_parts(TUTORIAL, scale, 72)
    keys = [*fixed, f"{classifier}7"]
    for block in blocks(TUTORIAL, scale, 72):
        pairs = list(zip(shape.kernels[block.stage], shape.expansions[block.stage]))
        own = (scale.kernels[block.kernel], scale.expansions[block.expansion])
        keys += [block.key] * (pairs[:1] if block.first else pairs[1:]).count(own)
    built: nn.Module = SPACE.build(network, classes=7)
    assert sum(numbers[key] for key in keys) == sum(parameter.numel() for parameter in built.parameters())
