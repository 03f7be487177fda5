"""The quality of networks with the inherited weights of a supernet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modnas_fast.supernets.supernet import Outputs, Supernet
from modnas_fast.tasks.task import Part, Task, taken


def even_batch_size(samples: int, most: int) -> int:
    """At most `most`, so that the last batch is as large as the others: it has statistics of its own.

    >>> even_batch_size(300, 256)
    150
    """
    count = -(-samples // most)
    return -(-samples // count)


class SupernetErrors:
    """The task's quality [n], such as errors in percent, of one-hots [n, N] on the CPU with inherited weights.

    Args:
        supernet: with trained weights; on the task's device.
        task: what is judged.
        part: on which, in minibatches of fixed order; usually validation: the test part stays for the verification.
        batch_size: samples per minibatch, at most.
        at_a_time: networks that are computed side by side, at most; quality does not depend on it.
        seen: minibatches x of training samples, on which a supernet that calibrates computes statistics of networks.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        part: Part,
        batch_size: int,
        at_a_time: int | None = None,
        seen: Sequence[Tensor] = (),
    ) -> None:
        self._supernet = supernet
        self._task = task
        self._part = part
        self._batch_size = even_batch_size(task.size(part), batch_size)
        self._at_a_time = at_a_time
        self._seen = seen

    @torch.no_grad()
    def __call__(self, onehot: Tensor) -> Tensor:
        parts = onehot.split(self._at_a_time or max(1, len(onehot)))
        statistics = [self._supernet.statistics(self._seen, part) for part in parts]
        counts = [
            torch.cat(
                [
                    self._counts(self._supernet.predict_chosen(state, part, of_part), y)
                    for part, of_part in zip(parts, statistics)
                ]
            )
            for state, y in ((self._supernet.embed(x), y) for x, y in self._task.batches(self._part, self._batch_size))
        ]
        return self._task.quality_of(torch.stack(counts).sum(dim=0), self._part).cpu()

    def _counts(self, outputs: Outputs, y: Tensor) -> Tensor:
        return self._task.counts(taken(self._task, outputs), y)


class ShardedErrors(SupernetErrors):
    """As `SupernetErrors`, where ranks hold parts of the weights; all of them ask for as many networks together."""

    @torch.no_grad()
    def __call__(self, onehot: Tensor) -> Tensor:
        parts = onehot.split(self._at_a_time or max(1, len(onehot)))
        counts = [
            torch.cat([self._supernet(x, part, y, self._counts) for part in parts])
            for x, y in self._task.batches(self._part, self._batch_size)
        ]
        return self._task.quality_of(torch.stack(counts).sum(dim=0), self._part).cpu()
