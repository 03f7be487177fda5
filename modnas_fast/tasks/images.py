"""Classification of images: cross-entropy, and the share of wrong answers in percent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.datasets import BatchStream, ImageTask, Split
from modnas_fast.supernets import cross_entropies
from modnas_fast.tasks.distilling import distilled
from modnas_fast.tasks.quality import QUALITY
from modnas_fast.tasks.task import Batch, Part, Task


class ImageClassification(Task):
    """The task of telling the classes of `images` apart.

    Networks are built with `image_channels` and `classes`; they take float [B, C, H, W] and give logits [B, classes].
    """

    quality = QUALITY
    computes = "logits [batch, classes] of images [batch, channels, height, width], (value / 255 - mean) / std"

    def __init__(self, images: ImageTask) -> None:
        self.images = images
        self.name, self.notes = images.name, images.notes
        self.chance = 100 * (1 - 1 / images.num_classes)
        self.chance_loss = math.log(images.num_classes)
        self.network = {
            "image_channels": images.image_shape[0],
            "classes": images.num_classes,
            "input_shape": images.image_shape,
        }

    @property
    def device(self) -> torch.device:
        """Where images and labels lie."""
        return self.images.train.images.device

    def to(self, device: torch.device | str) -> ImageClassification:
        """The same task with its images on `device`."""
        return ImageClassification(self.images.to(device))

    def size(self, part: Part) -> int:
        """How many images a part has."""
        return sum(len(split) for split in self._splits(part))

    def stream(self, part: Part, batch_size: int, seed: int, augment: bool | str = False) -> BatchStream:
        """Shuffled minibatches; `augment` crops images ("photos": resized parts), and mirrors them where it may."""
        return BatchStream(self.images, self._split(part), batch_size, seed, augment)

    def batches(self, part: Part, batch_size: int) -> Iterator[Batch]:
        """One pass in the order of the part."""
        return self.images.batches(self._split(part), batch_size)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy [S] in nats of logits [S, B, classes]."""
        return cross_entropies(outputs, y)

    def distilled_losses(self, outputs: Tensor, y: Tensor, told: Tensor, share: float) -> Tensor:
        """Cross-entropies [S] for the labels, and in their `share` those for the probabilities that were told."""
        return distilled(self.training_losses(outputs, y), outputs, told, share)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy [] in nats of logits [B, classes]."""
        return nn.functional.cross_entropy(outputs, y)

    def counts(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Wrong answers [S], int64."""
        return (outputs.argmax(-1) != y).sum(dim=1)

    def quality_of(self, counts: Tensor, part: Part) -> Tensor:
        """Error in percent [S], float64."""
        return 100 * counts.double() / self.size(part)

    def preparation(self) -> dict[str, Any]:
        """`mean` and `std` per channel of values divided by 255, and names of the `classes` in the logits' order."""
        images = self.images
        return {"mean": images.mean.tolist(), "std": images.std.tolist(), "classes": list(images.classes)}

    def description(self) -> dict[str, Any]:
        """As for every task, and `classes`, how many there are, and `image`, [channels, height, width]."""
        return {**super().description(), "classes": self.images.num_classes, "image": list(self.images.image_shape)}

    def _splits(self, part: Part) -> list[Split]:
        return [getattr(self.images, name) for name in part.split("+")]

    def _split(self, part: Part) -> Split:
        first, *others = splits = self._splits(part)
        if not others:
            return first
        return Split(torch.cat([s.images for s in splits]), torch.cat([s.labels for s in splits]))
