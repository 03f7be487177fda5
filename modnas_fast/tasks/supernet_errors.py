"""The quality of networks with the inherited weights of a supernet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from modnas_fast.supernets.parallel import in_parallel, workers
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
        at_a_time: networks that are computed in one call, at most; single ones on a CPU one per thread. Quality does
            not depend on it.
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
        chosen = [(part, self._supernet.statistics(self._seen, part)) for part in parts]
        count = workers(self._task.device, len(parts)) if self._at_a_time == 1 else 1
        counts = []
        for x, y in self._task.batches(self._part, self._batch_size):
            of_chosen = partial(self._counts_of, self._supernet.embed(x), y)
            counts.append(torch.cat(in_parallel(of_chosen, chosen, count)))
        return self._task.quality_of(torch.stack(counts).sum(dim=0), self._part).cpu()

    @torch.no_grad()
    def _counts_of(self, state: Tensor, y: Tensor, chosen: tuple[Tensor, Sequence[object]]) -> Tensor:
        """Of some networks, by their statistics."""
        return self._counts(self._supernet.predict_chosen(state, *chosen), y)

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
