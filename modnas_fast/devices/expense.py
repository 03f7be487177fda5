"""What measuring networks will take, found out before it begins: memory, and seconds per round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from modnas_fast.devices.machine import Setting
from modnas_fast.devices.measure import Inputs, Job, Passes, Prepare, threads_restored, whole_pass
from modnas_fast.devices.rounds import WARMUP_ROUNDS
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import SHARE

#: tensors as large as the largest output of a layer that exist at a time in a forward pass, working space of
#: convolutions included
LIVE_OUTPUTS = 12
#: networks per setting that are timed for the estimate
PROBES = 3
#: fewer repeats say little about noise
MIN_REPEATS = 3
#: how many times the minutes that it should take measuring may take at least, before it is refused: a busy machine is
#: several times as slow as a quiet one
REFUSED_BEYOND = 6


def check_memory(
    networks: Sequence[nn.Module], count: int, settings: Sequence[Setting], inputs: Inputs, free: int | None
) -> None:
    """Raises InputError where measuring would take more memory than there is on the CPU.

    Args:
        networks: some of those that are measured, on the CPU, in float32.
        count: of all networks.
        settings: on which they are measured.
        inputs: makes what networks get.
        free: bytes; None where not known.
    """
    on_cpu = [setting for setting in settings if setting.processor == "cpu"]
    if free is None or not on_cpu or not networks:
        return
    weights = count * sum(parameter_bytes(network) for network in networks) // len(networks)
    largest = max(_largest_output(network, inputs) for network in networks)
    given = {(s.batch, s.dtype): inputs(s.batch, "meta", s.dtype).nbytes for s in on_cpu}
    worst = max(on_cpu, key=lambda s: s.batch * s.dtype.itemsize)
    activations = LIVE_OUTPUTS * worst.batch * worst.dtype.itemsize * largest
    needed = weights + activations + sum(given.values())
    if needed > SHARE * free:
        shape = "×".join(str(side) for side in inputs(1, "meta", torch.float32).shape[1:])
        raise InputError(
            f"task.resize: measuring {count} networks with batches of up to {worst.batch} inputs of {shape} takes "
            f"about {needed / 1e9:.3g} GB, of which {free / 1e9:.3g} GB are free; set task.resize, space.channels or "
            "devices.networks lower"
        )


def parameter_bytes(network: nn.Module) -> int:
    """Bytes of a network's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


@torch.inference_mode()
def _largest_output(network: nn.Module, inputs: Inputs) -> int:
    """Numbers in the largest output of a layer for one sample."""
    x = inputs(1, "cpu", torch.float32)
    largest = x.numel()

    def look(module: nn.Module, arguments: tuple[object, ...], output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    handles = [module.register_forward_hook(look) for module in network.modules()]
    try:
        network.eval()(x)
    finally:
        for handle in handles:
            handle.remove()
    return largest


def seconds_per_round(
    jobs: Sequence[Job], inputs: Inputs, enough: float = math.inf, prepare: Prepare = whole_pass
) -> float:
    """An estimate of the seconds of one round of `measure`, from a few networks on every setting.

    Settings of small batches come first; where these and what the larger ones must take in proportion exceed `enough`,
    that is returned and the larger ones are not tried.
    """
    by_batch = sorted(jobs, key=lambda job: (job.setting.batch, job.setting.name))
    groups = [list(group) for _, group in groupby(by_batch, key=lambda job: job.setting)]
    left = sum(job.setting.batch for job in jobs)  # samples of the settings to come
    total = 0.0
    with torch.inference_mode(), threads_restored():
        for group in groups:
            mean = _mean_seconds(group, inputs, prepare)
            total, left = total + mean * len(group), left - group[0].setting.batch * len(group)
            # a batch of many samples takes less than as many batches of one, but never a quarter of them
            at_least = total + 0.25 * left * mean / group[0].setting.batch
            if at_least > enough:
                return at_least
    return total


def _mean_seconds(jobs: Sequence[Job], inputs: Inputs, prepare: Prepare) -> float:
    """Of one pass, by evenly spaced ones of the networks; the first pass of each, which prepares, is not counted."""
    chosen = [jobs[i * (len(jobs) - 1) // max(1, PROBES - 1)] for i in range(min(PROBES, len(jobs)))]
    passes = Passes(chosen, inputs, prepare)
    return sum(min(passes.seconds(job), passes.seconds(job)) for job in chosen) / len(chosen)


def affordable_repeats(
    seconds: float, repeats: int, minutes: float, say: Callable[[str], None], *, refuse: bool, what: str
) -> int:
    """How often each network is measured: `repeats`, or fewer where that would take longer than `minutes`.

    Args:
        seconds: of one round.
        repeats: wanted.
        minutes: what it should take.
        say: told in a line where fewer are made.
        refuse: whether to raise where even the fewest take `REFUSED_BEYOND` times as long; else they are made.
        what: words on what is measured.

    Raises InputError that names the settings.
    """
    possible = int(60 * minutes / seconds) - WARMUP_ROUNDS if seconds > 0 else repeats
    if possible >= repeats:
        return repeats
    fewest = min(MIN_REPEATS, repeats)
    needed = seconds * (WARMUP_ROUNDS + fewest) / 60
    if refuse and needed > REFUSED_BEYOND * minutes:
        raise InputError(
            f"devices.minutes: measuring {what} takes about {needed:.0f} minutes with {fewest} repeats each, far more "
            f"than {minutes:g}; set it higher, or task.resize, devices.networks or space.channels lower"
        )
    made = max(possible, fewest)
    if made < repeats:
        say(
            f"{what} are measured {made} times each instead of {repeats}, which would take about "
            f"{seconds * (WARMUP_ROUNDS + repeats) / 60:.0f} minutes (devices.repeats, devices.minutes={minutes:g})"
        )
    if needed > minutes:
        say(f"that takes about {needed:.0f} minutes still; task.resize, devices.networks and space.channels shorten it")
    return made
