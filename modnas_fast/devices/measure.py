"""Latency of standalone networks on settings of this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modnas_fast.devices.machine import Setting

WARMUP_ROUNDS = 2
#: an input of so many samples, on a processor, in a number format, which ids are not in
Inputs = Callable[[int, str, torch.dtype], Tensor]


def zeros_of(input_shape: Sequence[int]) -> Inputs:
    """Inputs of zeros, of which one sample has the shape `input_shape`.

    >>> zeros_of((3, 8, 8))(2, "cpu", torch.float32).shape
    torch.Size([2, 3, 8, 8])
    """
    return lambda count, device, dtype: torch.zeros(count, *input_shape, device=device, dtype=dtype)


@dataclass(frozen=True)
class Measurement:
    """Median latency of one network on one setting, in ms per batch, and its relative noise.

    Noise is the median absolute deviation over the repeats divided by the median.
    """

    latency_ms: float
    noise: float


@dataclass(frozen=True)
class Job:
    """One network to be measured on one setting."""

    setting: Setting
    key: str
    network: nn.Module


def measure(
    jobs: Sequence[Job],
    inputs: Inputs,
    repeats: int,
    on_percent: Callable[[int], None] = lambda done: None,
) -> dict[tuple[str, str], Measurement]:
    """Medians over `repeats` interleaved rounds, by (setting name, network key).

    Every round visits every network once, in an order that changes from round to round, so that a slow phase of
    the machine touches all networks alike instead of a few. Two rounds of warm-up are not counted.

    Args:
        jobs: networks and settings; each network is moved to its setting's processor and number format.
        inputs: makes what networks get.
        repeats: counted rounds, at least 1.
        on_percent: called whenever another percent of the time is over, as far as that can be foretold: 1 to 100.
    """
    samples: list[list[float]] = [[] for _ in jobs]
    seconds = [1.0] * len(jobs)  # of the last pass, for the progress
    rounds = WARMUP_ROUNDS + repeats
    order = sorted(range(len(jobs)), key=lambda i: jobs[i].setting.name)  # one change of threads per setting
    with torch.inference_mode(), threads_restored():
        passes = Passes(jobs, inputs)
        told = 0
        for round_index in range(rounds):
            expected, passed = sum(seconds), 0.0
            for i in order if round_index % 2 else reversed(order):
                passed += seconds[i]
                seconds[i] = passes.seconds(jobs[i])
                if round_index >= WARMUP_ROUNDS:
                    samples[i].append(1e3 * seconds[i])
                percent = int(100 * (round_index + min(1.0, passed / expected)) / rounds + 1e-9)
                if percent > told:
                    told = percent
                    on_percent(percent)
    return {(job.setting.name, job.key): _summarize(values) for job, values in zip(jobs, samples)}


class Passes:
    """Forward passes of networks on their settings, one at a time, on one input per kind of setting."""

    def __init__(self, jobs: Sequence[Job], inputs: Inputs) -> None:
        self._inputs: dict[tuple[object, ...], Tensor] = {}
        for job in jobs:
            setting = job.setting
            job.network.eval().to(setting.processor, setting.dtype)
            kind = self._kind(setting)
            if kind not in self._inputs:
                self._inputs[kind] = inputs(setting.batch, setting.processor, setting.dtype)

    @staticmethod
    def _kind(setting: Setting) -> tuple[object, ...]:
        return setting.processor, setting.batch, setting.dtype

    def seconds(self, job: Job) -> float:
        """Seconds of one pass; sets the threads of the job's setting."""
        setting, x = job.setting, self._inputs[self._kind(job.setting)]
        if torch.get_num_threads() != setting.threads and setting.processor == "cpu":
            torch.set_num_threads(setting.threads)
            job.network(x)  # the thread pool of the new size starts outside the measurement
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        start = time.perf_counter()
        job.network(x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return time.perf_counter() - start


@contextmanager
def threads_restored() -> Iterator[None]:
    """Gives torch its number of CPU threads back at the end."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _summarize(values: Sequence[float]) -> Measurement:
    median = statistics.median(values)
    deviation = statistics.median(abs(value - median) for value in values)
    return Measurement(median, deviation / median)
