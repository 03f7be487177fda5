"""The number format of a supernet's activations, where a configuration leaves it to the CPU that the run begins on.

Steps of w are made in both formats, on throw-away copies of what the run makes later. Which was faster depends on the
machine: times are kept beside its other measurements, so that a seed stays one run there, and the choice in the run's
folder, so that a run that goes on elsewhere computes in the format that it began in.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from modnas_fast.config import Config
from modnas_fast.devices import MeasurementCache
from modnas_fast.devices.machine import native_formats
from modnas_fast.devices.measure import Measurement
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.task_objective import SupernetObjective

FORMATS = ("float32", "bfloat16")
#: times as fast as float32 that bfloat16 has to be: less is not worth its rounding, and noise would decide
WORTH = 1.2
#: ms of a float32 step from which on bfloat16 is tried: operations of small networks take as long in it
LEAST_MS = 30.0
#: turns at most, the first of which does not count; and seconds after which the second is the last
TURNS, ENOUGH = 6, 2.0
#: what is timed, as the cache names it
STEP = "step of w"


def is_open(config: Config, device: torch.device) -> bool:
    """Whether the format is still to be chosen: on a CPU that computes bfloat16 by instructions of its own."""
    options = config.search
    return (
        options.activations == "auto"
        and device.type == "cpu"
        and options.train_weights
        and not options.shard
        and "bfloat16" in native_formats()
    )


def faster(config: Config, space: SearchSpace, task: Task, cache: MeasurementCache) -> dict[str, Any]:
    """The faster format by `activations`, and where both were tried, by `speedup` how many times as fast bfloat16 is.

    On as many threads as torch uses now; a network for each of them. Of the turns the shortest counts: what else the
    machine does makes steps longer.
    """
    first = SupernetObjective(with_format(config, FORMATS[0]), space, task)
    if not first.supernet.takes_bfloat16:
        return {"activations": FORMATS[0]}
    found = {name: cache.get(name, STEP) for name in FORMATS}
    if None in found.values():
        networks = space.sample(torch.get_num_threads(), torch.Generator().manual_seed(config.seed))
        if min(_milliseconds(first, networks) for _ in range(2)) < LEAST_MS:
            return {"activations": FORMATS[0]}
        second = SupernetObjective(with_format(config, FORMATS[1]), space, task)
        turns: list[list[float]] = []
        begun = time.monotonic()
        while len(turns) < 2 or (len(turns) < TURNS and time.monotonic() - begun < ENOUGH):
            turns.append([_milliseconds(objective, networks) for objective in (first, second)])
        found = {name: Measurement(min(column), 0.0) for name, column in zip(FORMATS, zip(*turns[1:]))}
        cache.update({(name, STEP): measured for name, measured in found.items() if measured})
    float32, bfloat16 = (measured.latency_ms for measured in found.values() if measured)
    speedup = float32 / bfloat16
    return {"activations": FORMATS[speedup >= WORTH], "speedup": round(speedup, 2)}


def _milliseconds(objective: SupernetObjective, networks: torch.Tensor) -> float:
    begun = time.perf_counter()
    objective.train_step(networks, 0.0, True)
    return 1e3 * (time.perf_counter() - begun)


def with_format(config: Config, activations: str) -> Config:
    """The configuration with a format of the activations."""
    search = config.search.model_copy(update={"activations": activations})
    return config.model_copy(update={"search": search})
