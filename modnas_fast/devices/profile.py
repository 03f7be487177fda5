"""Latencies of architectures on settings of this machine, through a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import nn

from modnas_fast.devices.cache import MeasurementCache
from modnas_fast.devices.expense import PROBES, REFUSED_BEYOND, affordable_repeats, check_memory, seconds_per_round
from modnas_fast.devices.machine import Setting
from modnas_fast.devices.measure import Anchor, Inputs, Job, Measurement, Prepare, measure, whole_pass
from modnas_fast.devices.rounds import WARMUP_ROUNDS
from modnas_fast.runtime.free_memory import free_memory
from modnas_fast.spaces import Architecture, SearchSpace


class Profiler:
    """Measures architectures of one space and task on settings of this machine, through a cache.

    Args:
        space: the search space; its `references` give the device embeddings, and are measured again beside whatever is
            measured later: by them the drift of the machine is known, so that all that the cache holds is comparable.
        network: keyword arguments of `space.build`, such as image_channels, classes, channels, cells.
        inputs: makes what networks get, such as `Task.inputs`.
        cache: where measurements are kept.
        repeats: counted repeats per network.
        minutes: what one call of `latencies` should take, by an estimate.
        prepare: makes what is timed of a network and its input, a forward pass by default.
    """

    def __init__(
        self,
        space: SearchSpace,
        network: dict[str, Any],
        inputs: Inputs,
        cache: MeasurementCache,
        repeats: int,
        minutes: float = 10.0,
        prepare: Prepare = whole_pass,
    ) -> None:
        self._space = space
        self._network = network
        self._inputs = inputs
        self._cache = cache
        self._repeats = repeats
        self._minutes = minutes
        self._prepare = prepare

    def latencies(
        self,
        wanted: Iterable[tuple[Setting, Sequence[Architecture]]],
        on_percent: Callable[[int], None] = lambda done: None,
        say: Callable[[str], None] = lambda line: None,
        *,
        refuse: bool = True,
    ) -> dict[str, dict[str, Measurement]]:
        """Measurements by setting name and canonical architecture string; what the cache holds is not repeated.

        Where it would take longer than it should fewer repeats are made, which `say` is told. Raises InputError where
        there is not enough memory and, if `refuse`, where a few repeats take far too long as well; without it a third
        of the time is what it should take.
        """
        networks = [(setting, self._canonical_texts(architectures)) for setting, architectures in wanted]
        missing = [
            (setting, text)
            for setting, texts in networks
            for text in dict.fromkeys(texts)
            if self._cache.get(setting.name, text) is None
        ]
        if missing:
            self._cache.update(self._measure(missing, on_percent, say, refuse))
        return {setting.name: {text: self._cached(setting, text) for text in texts} for setting, texts in networks}

    def _cached(self, setting: Setting, text: str) -> Measurement:
        return cast(Measurement, self._cache.get(setting.name, text))  # by now all are there

    def _measure(
        self,
        missing: Sequence[tuple[Setting, str]],
        on_percent: Callable[[int], None],
        say: Callable[[str], None],
        refuse: bool,
    ) -> dict[tuple[str, str], Measurement]:
        settings = list(dict.fromkeys(setting for setting, _ in missing))
        anchored = [(setting, text) for setting in settings for text in self._references]
        every = self._jobs(list(dict.fromkeys([*missing, *anchored])))
        jobs = [every[key] for key in missing]
        anchors = [Anchor(every[setting, text], self._first_ms(setting, text)) for setting, text in anchored]
        minutes = self._minutes if refuse else self._minutes / 3
        enough = 60 * REFUSED_BEYOND * minutes / (WARMUP_ROUNDS + 1) if refuse else float("inf")
        seconds = seconds_per_round(list(every.values()), self._inputs, enough, self._prepare)
        what = f"{len(jobs)} networks on {len(settings)} settings"
        repeats = affordable_repeats(seconds, self._repeats, minutes, say, refuse=refuse, what=what)
        spare = self._repeats + self._repeats // 3 - repeats
        return measure(
            jobs,
            self._inputs,
            repeats,
            on_percent,
            spare=spare,
            limit_s=60 * minutes,
            anchors=anchors,
            prepare=self._prepare,
        )

    def _jobs(self, wanted: Sequence[tuple[Setting, str]]) -> dict[tuple[Setting, str], Job]:
        """Networks to be measured. Raises InputError where there is not enough memory for them."""
        copies = dict.fromkeys((text, setting.processor, setting.dtype) for setting, text in wanted)
        some = [self._build(text) for text, *_ in list(copies)[:: max(1, len(copies) // PROBES)]]
        settings = list(dict.fromkeys(setting for setting, _ in wanted))
        check_memory(some, len(copies), settings, self._inputs, free_memory(torch.device("cpu")))
        networks = {copy: self._build(copy[0]) for copy in copies}  # settings of one number format share a network
        return {(s, text): Job(s, text, networks[text, s.processor, s.dtype]) for s, text in wanted}

    @cached_property
    def _references(self) -> list[str]:
        """The reference networks as they are measured, each once."""
        return list(dict.fromkeys(self._canonical_texts([self._space.parse(text) for text in self._space.references])))

    def _first_ms(self, setting: Setting, text: str) -> float | None:
        first = self._cache.get(setting.name, text)
        return None if first is None else first.latency_ms

    def _build(self, text: str) -> nn.Module:
        return self._space.build(self._space.parse(text), **self._network)

    def _canonical_texts(self, architectures: Sequence[Architecture]) -> list[str]:
        """One string per function: networks that differ only in parts without influence are measured once."""
        onehot = self._space.canonical(self._space.encode(architectures))
        return [architecture.text for architecture in self._space.decode(onehot)]
