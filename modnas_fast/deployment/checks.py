"""Whether a file gives what the network gives, and how long it takes here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.deployment.formats import OnnxNetwork, load_program
from modnas_fast.devices.measure import threads_restored
from modnas_fast.runtime.errors import InputError

#: largest difference of outputs, relative to the largest of them where that is above 1
TOLERANCE = 1e-4
#: passes that are timed, in rounds over all files, behind some that are not
ROUNDS, WARMUP = 30, 5


def loaded(path: Path, threads: int | None = None) -> nn.Module | None:
    """What runs a file: onnxruntime or torch; None for weights alone."""
    if path.suffix == ".onnx":
        return OnnxNetwork(path, threads)
    return load_program(path) if path.suffix == ".pt2" else None


@torch.no_grad()
def largest_difference(network: nn.Module, other: nn.Module, batches: Sequence[Tensor]) -> float:
    """Of the outputs of two networks for some inputs, relative to the largest output where that is above 1."""
    worst = 0.0
    for x in batches:
        wanted, found = network(x), other(x)
        worst = max(worst, float((wanted - found).abs().max() / wanted.abs().max().clamp(min=1)))
    return worst


def check_outputs(network: nn.Module, paths: Sequence[Path], batches: Sequence[Tensor]) -> dict[str, float]:
    """The largest difference by name of the file. Raises InputError where one is beyond `TOLERANCE`."""
    found = {}
    for path in paths:
        runner = loaded(path)
        if runner is None:
            continue
        difference = largest_difference(network, runner, batches)
        if not difference <= TOLERANCE:
            raise InputError(
                f"--to: {path} gives other outputs than the network, by {difference:.2g}, where {TOLERANCE:g} is "
                "allowed: do not deploy it; choose another format, or other versions of torch and onnxruntime"
            )
        found[path.name] = difference
    return found


def latencies_ms(paths: Sequence[Path], x: Tensor, threads: int) -> dict[str, dict[str, float]]:
    """Median of passes over x and their relative noise (median absolute deviation), by name of the file.

    Files take turns, so that a slow phase of the machine touches all alike.
    """
    with torch.inference_mode(), threads_restored():
        torch.set_num_threads(threads)
        runners = {path.name: runner for path in paths if (runner := loaded(path, threads)) is not None}
        taken: dict[str, list[float]] = {name: [] for name in runners}
        for number in range(WARMUP + ROUNDS):
            for name, runner in runners.items():
                taken[name].append(_milliseconds(lambda runner=runner: runner(x)))  # type: ignore[misc]
                if number < WARMUP:
                    taken[name].clear()
    return {name: _summary(values) for name, values in taken.items()}


def _milliseconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begun)


def _summary(values: Sequence[float]) -> dict[str, float]:
    median = statistics.median(values)
    return {"pass_ms": median, "noise": statistics.median(abs(value - median) for value in values) / median}
