"""Random crops and mirror images of whole batches, every random number from a generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modnas_fast.runtime.placement import to_device

#: whether minibatches are augmented: as usual for CIFAR, or with "photos" as photos are
Augment = bool | str
#: share of the image's area that a crop of a photo has at least, and how much wider or higher than the image at most
LEAST_AREA, ASPECT = 0.35, 4 / 3


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


def augment_photos(images: Tensor, generator: torch.Generator, *, flip: bool = True) -> Tensor:
    """Of each image of [B, C, H, W] a random part in the size of the whole, mirrored where `flip`; uint8 stays that.

    The part has 35 to 100 % of the area and its own aspect, up to 4/3 off the image's, and lies inside.

    >>> augment_photos(torch.full((2, 3, 8, 8), 7, dtype=torch.uint8), torch.Generator().manual_seed(0)).unique()
    tensor([7], dtype=torch.uint8)
    """
    draws = torch.rand(5, len(images), generator=generator, device=generator.device)
    area, aspect, left, top, mirrored = to_device(draws, images.device)
    area = LEAST_AREA + (1 - LEAST_AREA) * area
    stretch = ASPECT ** (aspect - 0.5)  # width over height, less than 4/3 either way
    width, height = (area.sqrt() * factor for factor in (stretch, 1 / stretch))
    width, height = width.clamp(max=1), height.clamp(max=1)
    theta = torch.zeros(len(images), 2, 3, device=images.device)
    theta[:, 0, 0] = torch.where(mirrored < 0.5, -width, width) if flip else width
    theta[:, 1, 1] = height
    theta[:, 0, 2], theta[:, 1, 2] = (2 * left - 1) * (1 - width), (2 * top - 1) * (1 - height)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    values = images if images.is_floating_point() else images.float()
    parts = functional.grid_sample(values, grid, padding_mode="border", align_corners=False)
    return parts if images.is_floating_point() else parts.round_().clamp_(0, 255).to(images.dtype)
