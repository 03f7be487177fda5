"""Time that a GPU itself takes: replays of a captured graph between two events, so that no Python is timed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping

import torch

from modnas_fast.bench.runner import Times

#: seconds that one turn should last at least, and replays in it at most
TURN, MOST_REPLAYS = 0.02, 1000
#: calls before a capture, which load kernels and make the libraries choose
WARM_CALLS = 3


class Replay:
    """One call as a CUDA graph; calling it puts a replay into the current stream and waits for nothing.

    Args:
        call: reads no values of the GPU, and always the same memory.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_CALLS):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._kept = call()

    def __call__(self) -> None:
        self._graph.replay()


def seconds_between_events(call: Callable[[], object], count: int) -> float:
    """Seconds of the GPU for one of `count` calls, launched one behind the other."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(count):
        call()
    last.record()
    last.synchronize()
    return 1e-3 * float(first.elapsed_time(last)) / count


def gpu_medians(contenders: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """Median seconds of the GPU for one call of each contender, captured once, in turns of at least `TURN` seconds."""
    replays = {name: Replay(call) for name, call in contenders.items()}
    counts = {}
    for name, replay in replays.items():
        alone = seconds_between_events(replay, 1)
        counts[name] = min(MOST_REPLAYS, max(1, math.ceil(TURN / max(alone, 1e-9))))
    times: dict[str, list[float]] = {name: [] for name in replays}
    for _ in range(rounds):
        for name, replay in replays.items():
            times[name].append(seconds_between_events(replay, counts[name]))
    return {name: statistics.median(values) for name, values in times.items()}
