"""Minibatches of pairs of sentences of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modnas_fast.tasks.task import Batch

#: minibatches that are filled from one run of the shuffled pairs, by length
RUN = 50


class Sentence(NamedTuple):
    """A pair as tokens, int64, each with the token at its end that ends it."""

    source: Tensor
    target: Tensor

    @property
    def length(self) -> int:
        """Of the longer side."""
        return max(len(self.source), len(self.target))


class Buckets:
    """Minibatches without end of pairs of like length, epoch after epoch, which can be saved and continued.

    Args:
        sentences: of a part.
        batch_size: B: a minibatch has at most the tokens of B pairs of mean length, padding included.
        seed: fixes the order of every epoch.
        make: the minibatch of some pairs.
    """

    def __init__(
        self, sentences: Sequence[Sentence], batch_size: int, seed: int, make: Callable[[Sequence[Sentence]], Batch]
    ) -> None:
        self._sentences, self._make = sentences, make
        mean = sum(sentence.length for sentence in sentences) / len(sentences)
        self._tokens, self._run = batch_size * mean, RUN * batch_size
        self._generator = torch.Generator().manual_seed(seed)
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._epoch_start, self._taken = self._generator.get_state(), 0
        order = torch.randperm(len(self._sentences), generator=self._generator).tolist()
        batches = []
        for begin in range(0, len(order), self._run):
            by_length = sorted(order[begin : begin + self._run], key=lambda place: self._sentences[place].length)
            batches += self._filled(by_length)
        shuffled = torch.randperm(len(batches), generator=self._generator).tolist()
        self._batches = [batches[place] for place in shuffled]

    def _filled(self, places: Sequence[int]) -> list[list[int]]:
        batches: list[list[int]] = [[]]
        for place in places:  # by rising length
            if batches[-1] and (len(batches[-1]) + 1) * self._sentences[place].length > self._tokens:
                batches.append([])
            batches[-1].append(place)
        return batches

    def __next__(self) -> Batch:
        if self._taken == len(self._batches):
            self._start_epoch()
        chosen = self._batches[self._taken]
        self._taken += 1
        return self._make([self._sentences[place] for place in chosen])

    def state_dict(self) -> dict[str, Any]:
        """The generator's state at the start of the epoch, and the minibatches taken since."""
        return {"epoch_start": self._epoch_start, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self._generator.set_state(state["epoch_start"])
        self._start_epoch()
        self._taken = state["taken"]
