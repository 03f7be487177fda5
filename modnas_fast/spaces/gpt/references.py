"""The ten reference networks of a GPT space: designed ones, or what comes nearest to them in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace


def designed_references(space: GPTSpace) -> tuple[str, ...]:
    """The two ends; each choice at its other end alone; two in between; two whose layers alternate."""
    return tuple(map(space.format, _designed(space)))


def _designed(space: GPTSpace) -> list[list[int]]:
    scale, layers = space.scale, space.scale.layers
    last = [len(options) - 1 for options in (scale.widths, scale.depths, scale.ratios, scale.heads)]
    middle = [end // 2 for end in last]

    def network(width: int, depth: int, ratio: Sequence[int], heads: Sequence[int], bias: int) -> list[int]:
        return [width, depth, *(ratio[i % len(ratio)] for i in range(layers)),
                *(heads[i % len(heads)] for i in range(layers)), bias]  # fmt: skip

    ends = [network(0, 0, [0], [0], 1), network(last[0], last[1], [last[2]], [last[3]], 0)]
    alone = [
        network(last[0], 0, [0], [0], 1),
        network(0, last[1], [0], [0], 1),
        network(last[0], 0, [last[2]], [0], 0),
        network(last[0], 0, [0], [last[3]], 1),
    ]
    between = [
        network(middle[0], middle[1], [middle[2]], [middle[3]], 0),
        network(middle[0], last[1], [last[2]], [0], 1),
    ]
    mixed = [
        network(middle[0], last[1], [0, last[2]], [last[3], 0], 0),
        network(last[0], middle[1], [last[2], 0], [0, last[3]], 1),
    ]
    return [*ends, *alone, *between, *mixed]


def nearest_references(space: GPTSpace, measured: Sequence[str]) -> tuple[str, ...]:
    """Ten networks of a table: per designed one, that of its width, depth and bias whose means are nearest.

    Compared are the mean MLP ratio and the mean number of heads over the layers, as shares of the largest; of equal
    ones the first. None is taken twice.
    """
    shapes = [space.shape(space.parse(text).indices) for text in measured]
    kinds = torch.tensor([[shape.width, len(shape.ratios), shape.bias] for shape in shapes])
    means = torch.tensor([_means(space, shape.ratios, shape.heads) for shape in shapes], dtype=torch.float64)
    chosen: list[int] = []
    for indices in _designed(space):
        wanted = space.shape(indices)
        kind = torch.tensor([wanted.width, len(wanted.ratios), wanted.bias])
        target = torch.tensor(_means(space, wanted.ratios, wanted.heads), dtype=torch.float64)
        distance = (means - target).abs().sum(1) + 10.0 * (kinds != kind).sum(1)
        distance[chosen] = torch.inf
        chosen.append(int((1e9 * distance).round().argmin()))
    return tuple(measured[row] for row in chosen)


def _means(space: GPTSpace, ratios: Sequence[int], heads: Sequence[int]) -> list[float]:
    sizes = ((ratios, space.scale.ratios), (heads, space.scale.heads))
    return [sum(values) / len(values) / options[-1] for values, options in sizes]
