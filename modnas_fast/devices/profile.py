"""Latencies of architectures on settings of this machine, through a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from modnas_fast.devices.cache import MeasurementCache
from modnas_fast.devices.machine import Setting
from modnas_fast.devices.measure import WARMUP_ROUNDS, Job, Measurement, measure
from modnas_fast.spaces import Architecture, SearchSpace


class Profiler:
    """Measures architectures of one space and task on settings of this machine, through a cache.

    Args:
        space: the search space; its `references` give the device embeddings.
        task: what `space.build` needs: image_channels, classes, channels, cells.
        image_shape: (channels, height, width).
        cache: where measurements are kept.
        repeats: counted repeats per network.
    """

    def __init__(
        self,
        space: SearchSpace,
        task: dict[str, int | str],
        image_shape: Sequence[int],
        cache: MeasurementCache,
        repeats: int,
    ) -> None:
        self._space = space
        self._task = task
        self._image_shape = tuple(image_shape)
        self._cache = cache
        self._repeats = repeats

    @property
    def rounds(self) -> int:
        """Rounds of one call of `latencies`, for a progress bar."""
        return WARMUP_ROUNDS + self._repeats

    def latencies(
        self,
        wanted: Iterable[tuple[Setting, Sequence[Architecture]]],
        on_round: Callable[[int], None] = lambda done: None,
    ) -> dict[str, dict[str, Measurement]]:
        """Measurements by setting name and canonical architecture string; what the cache holds is not repeated."""
        wanted = [(setting, self._canonical_texts(architectures)) for setting, architectures in wanted]
        jobs = [
            Job(setting, text, self._space.build(self._space.parse(text), **self._task))
            for setting, texts in wanted
            for text in dict.fromkeys(texts)
            if self._cache.get(setting.name, text) is None
        ]
        if jobs:
            self._cache.update(measure(jobs, self._image_shape, self._repeats, on_round))
        return {
            setting.name: {text: self._cache.get(setting.name, text) for text in texts} for setting, texts in wanted
        }

    def _canonical_texts(self, architectures: Sequence[Architecture]) -> list[str]:
        """One string per function: networks that differ only in parts without influence are measured once."""
        onehot = self._space.canonical(self._space.encode(architectures))
        return [architecture.text for architecture in self._space.decode(onehot)]
