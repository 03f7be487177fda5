"""What predictors see of MobileNetV3s: counts of blocks, alone and times the pixels that they work on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space


def areas(space: MobileNetV3Space, resolution: Tensor) -> Tensor:
    """Pixels that each stage gives, as shares of those at the highest resolution, of its one-hot [..., R]: [..., J]."""
    sides = torch.tensor([space.scale.sides(side) for side in space.scale.resolutions])[:, 1:].to(resolution)
    return resolution @ (sides / sides[-1]).square()


def features(space: MobileNetV3Space, onehot: Tensor) -> Tensor:
    """[..., 14], each from 0 to 1: costs are nearly linear in them, and errors smooth.

    Pixels; blocks of each stage; over all places for blocks the mean kernel, the mean expansion, and, times the pixels
    of the stage, the same and their product, which depth-wise convolutions cost; multiplications of 1×1 convolutions.
    """
    parts, scale = space.split(onehot), space.scale
    present = space.present(parts.depths)  # [..., J, L]
    area = areas(space, parts.resolution)  # [..., J]
    kernel = present * _shares(parts.kernels, scale.kernels, power=2)
    expansion = present * _shares(parts.expansions, scale.expansions)
    both = kernel * _shares(parts.expansions, scale.expansions)
    inside = _channels(space).to(onehot)  # [J, L]
    of_stages = area[..., None] * inside / inside.mean()
    pointwise = _multiplications(space).to(onehot)
    return torch.cat(
        [
            area.mean(-1, keepdim=True),
            present.mean(-1),
            _mean(kernel),
            _mean(expansion),
            _mean(present * of_stages),
            _mean(kernel * of_stages),
            _mean(expansion * of_stages),
            _mean(both * of_stages),
            _mean(expansion * area[..., None] * pointwise / pointwise.mean()),
            _mean(expansion * inside / inside.mean()),
        ],
        dim=-1,
    )


def details(space: MobileNetV3Space, onehot: Tensor) -> Tensor:
    """Per stage, of its first block and of its others: how many have each kernel and each expansion.

    All of them alone and times the pixels of the stage, beside the resolution's one-hot, since devices run some faster
    than others nearby: [..., F], linear in each choice.
    """
    parts = space.split(onehot)
    blocks = torch.cat([parts.kernels, parts.expansions], dim=-1) * space.present(parts.depths)[..., None]
    first, others = blocks[..., :1, :], blocks[..., 1:, :].sum(-2, keepdim=True) / max(blocks.shape[-2] - 1, 1)
    counts = torch.cat([first, others], dim=-2).flatten(-2)  # [..., J, F']
    of_pixels = counts * areas(space, parts.resolution)[..., None]
    return torch.cat([parts.resolution, counts.flatten(-2), of_pixels.flatten(-2)], dim=-1)


def _shares(part: Tensor, sizes: Sequence[int], power: int = 1) -> Tensor:
    """Sizes, or powers of them, as shares of the largest, of one-hots or shares [..., options]."""
    return part @ torch.tensor([(size / sizes[-1]) ** power for size in sizes]).to(part)


def _mean(part: Tensor) -> Tensor:
    return part.mean((-2, -1))[..., None]


def _channels(space: MobileNetV3Space) -> Tensor:
    """What the block at each place takes, [J, L]."""
    scale = space.scale
    return torch.tensor([[scale.channels_into(j, k) for k in range(scale.layers)] for j in range(space.stages)]).float()


def _multiplications(space: MobileNetV3Space) -> Tensor:
    """Of the 1×1 convolutions per pixel and expansion, up to a factor, of the block at each place, [J, L]."""
    taken, given = _channels(space), torch.tensor(space.scale.stage_channels).float()[:, None]
    return taken * (taken + given)
