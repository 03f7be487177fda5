"""Small supernets, minibatches and samples in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.supernet import NB201Supernet

space = NB201Space()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(channels: int = 2, cells: int = 1, reduction: str = "residual", entangled: bool = False) -> NB201Supernet:
    """A supernet in float64 for three colours and four classes, its weights from a generator of its own."""
    supernet = space.supernet(
        image_channels=3, classes=4, channels=channels, cells=cells, reduction=reduction, entangled=entangled
    ).double()
    generator = seeded(channels + 10 * cells)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return supernet


def batch(size: int = 5, channels: int = 3, height: int = 8, width: int = 8, classes: int = 4) -> tuple[Tensor, Tensor]:
    x = torch.randn(size, channels, height, width, generator=seeded(height + width), dtype=torch.float64)
    return x, torch.arange(size) % classes


def architectures(count: int, seed: int = 0) -> Tensor:
    return space.sample(count, seeded(seed)).double()


def soft_samples(count: int, seed: int = 0) -> Tensor:
    logits = torch.randn(count, 6, 5, generator=seeded(seed), dtype=torch.float64)
    return logits.softmax(-1).flatten(1)
