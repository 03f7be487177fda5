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
    image_shape: Sequence[int],
    repeats: int,
    on_round: Callable[[int], None] = lambda done: None,
) -> dict[tuple[str, str], Measurement]:
    """Medians over `repeats` interleaved rounds, by (setting name, network key).

    Every round visits every network once, in an order that changes from round to round, so that a slow phase of
    the machine touches all networks alike instead of a few. Two rounds of warm-up are not counted.

    Args:
        jobs: networks and settings; each network is moved to its setting's processor and number format.
        image_shape: (channels, height, width) of one input image.
        repeats: counted rounds, at least 1.
        on_round: called with the number of finished rounds, warm-up included.
    """
    prepared = [_prepare(job, image_shape) for job in jobs]
    samples: list[list[float]] = [[] for _ in jobs]
    order = sorted(range(len(jobs)), key=lambda i: jobs[i].setting.name)  # one change of threads per setting
    with torch.inference_mode(), threads_restored():
        for round_index in range(WARMUP_ROUNDS + repeats):
            for i in order if round_index % 2 else reversed(order):
                seconds = _time_once(jobs[i].setting, *prepared[i])
                if round_index >= WARMUP_ROUNDS:
                    samples[i].append(1e3 * seconds)
            on_round(round_index + 1)
    return {(job.setting.name, job.key): _summarize(values) for job, values in zip(jobs, samples)}


def _prepare(job: Job, image_shape: Sequence[int]) -> tuple[nn.Module, Tensor]:
    setting = job.setting
    network = job.network.eval().to(setting.processor, setting.dtype)
    return network, torch.zeros(setting.batch, *image_shape, device=setting.processor, dtype=setting.dtype)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Gives torch its number of CPU threads back at the end."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _time_once(setting: Setting, network: nn.Module, x: Tensor) -> float:
    """Seconds of one forward pass."""
    if torch.get_num_threads() != setting.threads and setting.processor == "cpu":
        torch.set_num_threads(setting.threads)
        network(x)  # the thread pool of the new size starts outside the measurement
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    start = time.perf_counter()
    network(x)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start


def _summarize(values: Sequence[float]) -> Measurement:
    median = statistics.median(values)
    deviation = statistics.median(abs(value - median) for value in values)
    return Measurement(median, deviation / median)
