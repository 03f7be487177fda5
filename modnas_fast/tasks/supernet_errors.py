"""Errors of networks with the inherited weights of a supernet."""

from __future__ import annotations

import torch
from torch import Tensor

from modnas_fast.datasets import ImageTask, Split
from modnas_fast.supernets.supernet import Supernet


def even_batch_size(images: int, most: int) -> int:
    """At most `most`, so that the last batch is as large as the others: it has statistics of its own.

    >>> even_batch_size(300, 256)
    150
    """
    count = -(-images // most)
    return -(-images // count)


class SupernetErrors:
    """Errors in percent [n] of one-hots [n, N] on the CPU with the supernet's inherited weights.

    Args:
        supernet: with trained weights; on the task's device.
        task: errors are those on `split`, with the batch statistics of batches in fixed order.
        split: usually the validation part: the test part stays for the verification.
        batch_size: images per batch, at most.
        at_a_time: networks that are computed side by side, at most; errors do not depend on it.
    """

    def __init__(
        self, supernet: Supernet, task: ImageTask, split: Split, batch_size: int, at_a_time: int | None = None
    ) -> None:
        self._supernet = supernet
        self._task = task
        self._split = split
        self._batch_size = batch_size
        self._at_a_time = at_a_time

    @torch.no_grad()
    def __call__(self, onehot: Tensor) -> Tensor:
        wrong = torch.zeros(len(onehot), dtype=torch.long, device=self._split.labels.device)
        parts = onehot.split(self._at_a_time or max(1, len(onehot)))
        for x, y in self._task.batches(self._split, self._even_batch_size):
            wrong += torch.cat([(self._supernet.predict(x, part).argmax(-1) != y).sum(dim=1) for part in parts])
        return 100 * wrong.cpu().double() / len(self._split)

    @property
    def _even_batch_size(self) -> int:
        return even_batch_size(len(self._split), self._batch_size)
