"""Random crops and mirror images of whole batches, every random number from a generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modnas_fast.runtime.placement import to_device


def augment_batch(images: Tensor, generator: torch.Generator, *, flip: bool = True) -> Tensor:
    """The usual CIFAR treatment: a random crop after zero padding of H // 8 pixels, and mirror images.

    `images` [B, C, H, W] of any dtype; the result has the same shape. `flip` is False where a mirrored image
    is no longer of its class, e.g. digits.

    >>> batch = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    >>> augment_batch(batch, torch.Generator().manual_seed(0)).shape
    torch.Size([1, 1, 8, 8])
    """
    images = random_crop(images, images.shape[-2] // 8, generator)
    return random_flip(images, generator) if flip else images


def random_crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Each image of [B, C, H, W] moved by −pad..pad pixels both ways; zeros come in at the border."""
    batch, _, height, width = images.shape
    moves = torch.randint(0, 2 * pad + 1, (2, batch, 1), generator=generator, device=generator.device)
    top, left = to_device(moves, images.device)
    rows = top + torch.arange(height, device=images.device)  # [B, H]
    columns = left + torch.arange(width, device=images.device)  # [B, W]
    padded = functional.pad(images, (pad, pad, pad, pad))
    image = torch.arange(batch, device=images.device)
    # The two index runs are separated by the channel axis, which therefore lands last.
    cropped = padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).contiguous()


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image of [B, C, H, W] mirrored left to right with probability ½."""
    mirrored = torch.randint(0, 2, (len(images), 1, 1, 1), generator=generator, device=generator.device)
    return torch.where(to_device(mirrored.bool(), images.device), images.flip(-1), images)
