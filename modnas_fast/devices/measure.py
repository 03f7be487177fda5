"""Latency of standalone networks on settings of this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modnas_fast.devices.contention import Reading, Watch
from modnas_fast.devices.machine import Setting
from modnas_fast.devices.rounds import Block, doubt, least_rounds, run_rounds

#: an input of so many samples, on a processor, in a number format, which ids are not in
Inputs = Callable[[int, torch.device | str, torch.dtype], Tensor]
#: makes of a network and an input what is timed, and whatever that needs, outside of the time
Prepare = Callable[[nn.Module, Tensor], Callable[[], object]]


def whole_pass(network: nn.Module, x: Tensor) -> Callable[[], object]:
    """A forward pass over the input."""
    return lambda: network(x)


class Timing(NamedTuple):
    """What is timed of networks for a cost."""

    inputs: Inputs
    prepare: Prepare = whole_pass
    #: what it is, where it is no whole pass; such measurements are kept apart from others
    part: str = ""


def normals_of(input_shape: Sequence[int]) -> Inputs:
    """Inputs of normal random numbers, always the same, of which one sample has the shape `input_shape`.

    Zeros would be quicker on processors whose arithmetic takes less power or time for them.

    >>> normals_of((3, 8, 8))(2, "cpu", torch.float32).shape
    torch.Size([2, 3, 8, 8])
    """

    def inputs(count: int, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        if torch.device(device).type == "meta":
            return torch.empty(count, *input_shape, device=device, dtype=dtype)
        return torch.randn(count, *input_shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)

    return inputs


@dataclass(frozen=True)
class Measurement:
    """Median latency of one network on one setting, in ms per batch, and its relative noise.

    Noise is the median absolute deviation over the repeats divided by the median. `doubt` says why the setting was not
    to be trusted while this was measured; empty: it was.
    """

    latency_ms: float
    noise: float
    doubt: str = ""


@dataclass(frozen=True)
class Job:
    """One network to be measured on one setting."""

    setting: Setting
    key: str
    network: nn.Module


@dataclass(frozen=True)
class Anchor:
    """A reference network on a setting, and its latency when it was measured there first; None: it never was."""

    job: Job
    first_ms: float | None = None


def measure(
    jobs: Sequence[Job],
    inputs: Inputs,
    repeats: int,
    on_percent: Callable[[int], None] = lambda done: None,
    *,
    spare: int = 0,
    limit_s: float = math.inf,
    anchors: Sequence[Anchor] = (),
    prepare: Prepare = whole_pass,
) -> dict[tuple[str, str], Measurement]:
    """Medians over interleaved rounds, by (setting name, network key), in the units of the anchors' first values.

    How rounds are made and their drift is taken out: `rounds` and `correction`.

    Args:
        jobs: networks and settings; each network is moved to its setting's processor and number format.
        inputs: makes what networks get.
        repeats: counted rounds, at least 1.
        on_percent: called whenever another percent of the time is over, as far as that can be foretold: 1 to 100.
        spare: rounds more for settings that were disturbed.
        limit_s: seconds after which no such round begins.
        anchors: reference networks, which are measured in the same rounds, among `jobs` or not; those that have no
            first value are part of what comes back.
        prepare: makes what is timed.
    """
    wanted = {(job.setting.name, job.key): job for job in [*jobs, *(a.job for a in anchors if a.first_ms is None)]}
    every = {**wanted, **{(a.job.setting.name, a.job.key): a.job for a in anchors}}
    names = sorted({name for name, _ in every})  # one change of threads per setting
    blocks = [_block([job for (name, _), job in every.items() if name == this], anchors) for this in names]
    with torch.inference_mode(), threads_restored():
        passes = Passes(list(every.values()), inputs, prepare)
        watch = Watch()
        run_rounds(blocks, passes.seconds, lambda job: _look(watch, job.setting), repeats, spare, limit_s, on_percent)
    measured: dict[tuple[str, str], Measurement] = {}
    for name, block in zip(names, blocks):
        found, why = block.corrected(least_rounds(repeats)), doubt(block, least_rounds(repeats))
        for job, latency_ms, noise in zip(block.items, found.latency_ms.tolist(), found.noise.tolist()):
            measured[name, job.key] = Measurement(latency_ms, noise, why)
    return {key: measured[key] for key in wanted}


def _block(jobs: Sequence[Job], anchors: Sequence[Anchor]) -> Block[Job]:
    """The networks of one setting; where some of its anchors have first values, these alone tell the drift."""
    first = {a.job.key: a.first_ms for a in anchors if a.job.setting == jobs[0].setting}
    known = [key for key, value in first.items() if value is not None]
    place = {job.key: number for number, job in enumerate(jobs)}
    firsts = [value for value in first.values() if value is not None]
    return Block(jobs, [place[key] for key in known or first], firsts or None)


def _look(watch: Watch, setting: Setting) -> Reading:
    """What happened to a setting since the last look; of a GPU, with its clock."""
    reading = watch.look()
    return reading if setting.processor == "cpu" else replace(reading, clock_mhz=_gpu_clock_mhz(setting.processor))


def _gpu_clock_mhz(processor: str) -> float | None:
    try:
        return float(torch.cuda.clock_rate(processor))
    except Exception:  # without nvidia-ml-py, or where the driver does not tell, of errors of its own kinds
        return None


class Passes:
    """Passes of networks on their settings, one at a time, on one input per kind of setting."""

    def __init__(self, jobs: Sequence[Job], inputs: Inputs, prepare: Prepare = whole_pass) -> None:
        self._prepare = prepare
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
        if other := torch.get_num_threads() != setting.threads and setting.processor == "cpu":
            torch.set_num_threads(setting.threads)
        call = self._prepare(job.network, x)
        if other:
            call()  # the thread pool of the new size starts outside the measurement
        if x.is_cuda:
            return _cuda_seconds(call, x.device)
        start = time.perf_counter()
        call()
        return time.perf_counter() - start


def _cuda_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one pass between two events of the GPU, which Python and the driver's queue do not blur."""
    with torch.cuda.device(device):
        begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begun.record()
        call()
        ended.record()
        ended.synchronize()
        return float(begun.elapsed_time(ended)) / 1e3


@contextmanager
def threads_restored() -> Iterator[None]:
    """Gives torch its number of CPU threads back at the end."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
