"""ImageTask: images and labels in memory, in three parts, and the minibatches made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modnas_fast.datasets.augment import Augment, augment_batch, augment_photos
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.placement import to_device

STATISTICS_CHUNK = 1 << 23  # values that are summed at once


@dataclass(frozen=True)
class Split:
    """One part of a task: `images` uint8 [n, C, H, W] in 0..255 and `labels` int64 [n].

    Raises ValueError for other types or shapes and where the two differ in n.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(f"images: wanted uint8 [n, C, H, W], got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels: wanted int64 [{len(self.images)}], got {self.labels.dtype} {list(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """The images and labels at `indices` int64 [k], in that order."""
        return Split(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Split:
        """The same split on `device`; itself where it is there already."""
        if self.images.device == self.labels.device == torch.device(device):
            return self
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageTask:
    """An image classification task, held in memory as bytes.

    `train` is for the supernet's weights, `validation` for the hypernetwork, `test` for reports alone.
    `image_shape` is (channels, height, width). `mean` and `std` [C] are of the training images' values
    divided by 255; a channel without any contrast has std 1. `flip` tells whether a mirrored image keeps its
    class. `notes` say in words what was done to the data on the way in, e.g. "37 of 900 images resized to
    32×32".
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    image_shape: tuple[int, int, int]
    mean: Tensor
    std: Tensor
    flip: bool = True
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def to(self, device: torch.device | str) -> ImageTask:
        """The same task with every tensor on `device`."""
        parts = {part: getattr(self, part).to(device) for part in ("train", "validation", "test")}
        return replace(self, **parts, mean=self.mean.to(device), std=self.std.to(device))

    def normalize(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(images / 255 − mean) / std per channel: uint8 [..., C, H, W] to `dtype`, computed in float32."""
        scale = 1.0 / (255.0 * self.std)
        shift = -self.mean / self.std
        values = images.to(torch.float32) * scale.to(images.device)[:, None, None]
        return values.add_(shift.to(images.device)[:, None, None]).to(dtype)

    def batches(
        self,
        split: Split,
        batch_size: int,
        generator: torch.Generator | None = None,
        drop_last: bool = False,
        *,
        augment: Augment = False,
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over `split`: minibatches (x normalised [B, C, H, W], y int64 [B]).

        `generator` shuffles anew at every call and draws the augmentation (random crop, that of photos with "photos";
        mirror images where `flip`); without it the order is that of the split. `drop_last` leaves a smaller last batch
        out. Raises ValueError for a batch size below 1 and for `augment` without a generator, and InputError where
        `drop_last` would leave nothing. The arguments are checked at the call, not at the first batch.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: wanted at least 1, got {batch_size}")
        if augment and generator is None:
            raise ValueError("generator: augmentation needs one")
        if drop_last and len(split) < batch_size:
            raise InputError(
                f"batch_size: wanted at most the {len(split)} images of the split, got {batch_size}; "
                "choose a smaller batch or more data"
            )
        return self._iterate(split, batch_size, generator, drop_last, augment, dtype)

    def _iterate(
        self,
        split: Split,
        batch_size: int,
        generator: torch.Generator | None,
        drop_last: bool,
        augment: Augment,
        dtype: torch.dtype,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        size = len(split)
        if generator is None:
            order = torch.arange(size)
        else:
            order = torch.randperm(size, generator=generator, device=generator.device)
        order = to_device(order, split.images.device)
        stop = size - size % batch_size if drop_last else size
        for start in range(0, stop, batch_size):
            rows = order[start : start + batch_size]
            images = split.images[rows]
            if augment and generator is not None:
                changed = augment_photos if augment == "photos" else augment_batch
                images = changed(images, generator, flip=self.flip)
            yield self.normalize(images, dtype), split.labels[rows]


def make_task(
    name: str,
    classes: tuple[str, ...],
    *,
    train: Split,
    validation: Split,
    test: Split,
    flip: bool = True,
    notes: tuple[str, ...] = (),
) -> ImageTask:
    """The task of three splits of one image shape; mean and std come from `train` alone.

    >>> split = Split(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1), torch.tensor([0, 1]))
    >>> task = make_task("dots", ("dark", "light"), train=split, validation=split, test=split)
    >>> task.mean, task.std
    (tensor([0.5000]), tensor([0.5000]))
    >>> task.normalize(split.images).flatten()
    tensor([-1.,  1.])
    """
    mean, std = channel_statistics(train.images)
    channels, height, width = train.images.shape[1:]
    return ImageTask(name, classes, train, validation, test, (channels, height, width), mean, std, flip, tuple(notes))


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation [C], float32, of uint8 images [n, C, H, W] divided by 255.

    Exact sums of whole numbers, so the result is the same on every machine. A std of 0 is returned as 1.
    """
    totals = torch.zeros(2, images.shape[1], dtype=torch.int64, device=images.device)
    for chunk in images.split(max(1, STATISTICS_CHUNK // images.shape[1:].numel())):
        values = chunk.transpose(0, 1).flatten(1).to(torch.int32)
        totals += torch.stack((values.sum(-1), values.square().sum(-1)))
    first, second = totals.double() / (images.numel() // images.shape[1])
    deviation = (second - first.square()).clamp_min(0.0).sqrt()
    deviation = torch.where(deviation < 1e-6, 255.0, deviation)
    return (first / 255.0).float(), (deviation / 255.0).float()
