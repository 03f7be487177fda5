"""An endless stream of shuffled minibatches that can be saved and continued exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modnas_fast.datasets.augment import Augment
from modnas_fast.datasets.task import ImageTask, Split


class BatchStream:
    """Epoch after epoch of one split; `next(stream)` gives (x [B, C, H, W], y [B]).

    Args:
        task, split: what to draw from; the last, smaller batch of an epoch is left out.
        batch_size: B, at most the size of the split.
        seed: fixes the order of every epoch and the augmentation.
        augment: random crops, those of photos with "photos", and mirror images where the task allows it.
    """

    def __init__(self, task: ImageTask, split: Split, batch_size: int, seed: int, augment: Augment = False) -> None:
        self._task = task
        self._split = split
        self._batch_size = min(batch_size, len(split))
        self._augment = augment
        self._generator = torch.Generator().manual_seed(seed)
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._epoch_start = self._generator.get_state()
        self._taken = 0
        self._batches = self._task.batches(
            self._split, self._batch_size, self._generator, drop_last=True, augment=self._augment
        )

    def __next__(self) -> tuple[Tensor, Tensor]:
        batch = next(self._batches, None)
        if batch is None:
            self._start_epoch()
            batch = next(self._batches)
        self._taken += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The place in the stream: the generator's state at the start of the epoch, and the batches taken since."""
        return {"epoch_start": self._epoch_start, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self._generator.set_state(state["epoch_start"])
        self._start_epoch()
        for _ in range(state["taken"]):
            next(self)
