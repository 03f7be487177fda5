"""Where the time and memory of a whole search step go: by part of the method, and by kind of operation."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from modnas_fast.bench import published_step
from modnas_fast.bench.published_step import PublishedStep
from modnas_fast.bench.runner import synchronize
from modnas_fast.datasets import BatchStream
from modnas_fast.method.architect import Architect
from modnas_fast.search import bilevel as search_module
from modnas_fast.search.bilevel import Search
from modnas_fast.supernets import passes
from modnas_fast.supernets.captured import CapturedPasses

#: a step of the search, by the names of its two halves in `Search` and in `PublishedStep`
HALVES = {"_hyper_step": "Φ step", "_weight_step": "w step", "hyper_step": "Φ step", "weight_step": "w step"}
#: parts that are no function of the method's but stand between them
REST = "other"
#: kinds of operations, and what the names of torch's operations and of CUDA kernels hold, in lower case; the first
#: that fits. Depthwise convolutions are pooling.
KINDS = {
    "compiled": ("triton_", "compiledfx"),
    "pooling": ("avg_pool", "depthwise"),
    "convolution": ("conv", "fprop", "dgrad", "wgrad", "winograd"),
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw"),
    "relu": ("relu", "threshold", "clamp"),
    "copies": (
        "copy",
        "aten::cat",
        "catarray",
        "clone",
        "fill",
        "zero_",
        "memset",
        "memcpy",
        "nchwtonhwc",
        "nhwctonchw",
    ),
    "weights and sums": (
        *("aten::add", "aten::mul", "aten::sum", "aten::bmm", "aten::mm", "aten::matmul", "aten::div"),
        *("functor_add", "mulfunctor", "divfunctor", "sum_functor", "gemm"),
    ),
    "own operators": ("modnas_fast",),
}


class Function(NamedTuple):
    """A function that a step calls, by where it is looked up, and the part of the step that it is."""

    owner: Any
    name: str
    part: str


_EVERYWHERE = (
    Function(torch.autograd, "grad", "backward"),
    Function(torch.Tensor, "backward", "backward"),
    Function(nn.utils, "clip_grad_norm_", "optimisers"),
    Function(BatchStream, "__next__", "data"),
)


def functions_of_search(search: Search) -> list[Function]:
    """What our step calls."""
    objective = search._objective
    # a replayed graph calls nothing of the supernet
    replays = isinstance(objective._passes, CapturedPasses)
    return [
        *([Function(objective._passes, "_replay", "supernet forward")] if replays else []),
        *_EVERYWHERE,
        Function(search.hypernet, "forward", "hypernetwork"),
        Function(Architect, "__call__", "sampling"),
        Function(search._costs, "forward", "predictor"),
        Function(objective.supernet, "embed", "supernet forward"),
        Function(objective.supernet, "predict_from", "supernet forward"),
        Function(search_module, "descend", "MGD"),
        Function(search._hyper_optimizer, "step", "optimisers"),
        Function(objective._optimizer, "step", "optimisers"),
    ]


def functions_of_published(step: PublishedStep) -> list[Function]:
    """What the published step calls."""
    return [
        *_EVERYWHERE,
        Function(step.hypernet, "forward", "hypernetwork"),
        Function(published_step, "drawn", "sampling"),
        Function(published_step, "reinmax", "sampling"),
        Function(step.costs, "forward", "predictor"),
        Function(step.supernet, "forward", "supernet forward"),
        Function(step, "unit_gradient", "MGD"),
        Function(published_step, "classic_combination", "MGD"),
        Function(step.adam, "step", "optimisers"),
        Function(step.sgd, "step", "optimisers"),
    ]


class _Clock:
    """Seconds per half and part of a step; a part counts whole, with all that it calls."""

    def __init__(self, where: str) -> None:
        self.seconds: dict[str, dict[str, float]] = {half: defaultdict(float) for half in ("Φ step", "w step")}
        self._where = where
        self._half = "Φ step"
        self._busy = False

    def part(self, function: Function) -> Callable[..., Any]:
        """The function, timed unless another part calls it."""
        original = getattr(function.owner, function.name)

        def timed(*arguments: Any, **options: Any) -> Any:
            if self._busy:
                return original(*arguments, **options)
            self._busy = True
            try:
                with self._measured(function.part):
                    return original(*arguments, **options)
            finally:
                self._busy = False

        return timed

    def half(self, owner: Any, name: str) -> Callable[..., Any]:
        """The half of a step; what none of its parts takes is its rest."""
        original = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            self._half = HALVES[name]
            with self._measured(REST):
                result = original(*arguments, **options)
            seconds = self.seconds[self._half]
            seconds[REST] -= sum(value for part, value in seconds.items() if part != REST)
            return result

        return timed

    @contextmanager
    def _measured(self, part: str) -> Iterator[None]:
        synchronize(self._where)
        start = time.perf_counter()
        yield
        synchronize(self._where)
        self.seconds[self._half][part] += time.perf_counter() - start


def one_part_at_a_time() -> Any:
    """Within it, no other thread works on some of the devices, unseen."""
    return patch.object(passes, "workers", lambda *_: 1)


def seconds_by_part(
    owner: Search | PublishedStep, functions: Sequence[Function], where: str = "cpu"
) -> dict[str, dict[str, float]]:
    """Seconds of one step, by half (Φ step, w step) and part; parts of the devices are worked on one after another."""
    clock = _Clock(where)
    with ExitStack() as stack:
        stack.enter_context(one_part_at_a_time())
        for name in HALVES:
            if hasattr(owner, name):
                stack.enter_context(patch.object(owner, name, clock.half(owner, name)))
        for function in functions:
            stack.enter_context(patch.object(function.owner, function.name, clock.part(function)))
        owner.step()
    return {half: dict(seconds) for half, seconds in clock.seconds.items()}


def seconds_by_kind(step: Callable[[], object], where: str = "cpu") -> dict[str, float]:
    """Time of the operations of one step, forward and backward together, by kind, the longest first.

    On the CPU each operation is timed as it runs, in compiled code none; on CUDA torch's profiler times the kernels.
    """
    seconds = _on_cpu(step) if where == "cpu" else _on_cuda(step)
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


class _Kinds(TorchDispatchMode):
    """Seconds of every operation that runs inside of the context, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **(options or {}))
        spent = time.perf_counter() - start
        shapes = [value.shape for value in arguments if isinstance(value, torch.Tensor)]
        self.seconds[kind_of(function.name(), shapes)] += spent
        return result


def _on_cpu(step: Callable[[], object]) -> dict[str, float]:
    with one_part_at_a_time(), _Kinds() as kinds:
        step()
    return kinds.seconds


def _on_cuda(step: Callable[[], object]) -> dict[str, float]:
    """By the names of kernels: those of a captured graph belong to no operation."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        step()
        torch.cuda.synchronize()
    seconds: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            seconds[kind_of(event.key)] += event.self_device_time_total * 1e-6
    return seconds


def kind_of(name: str, shapes: Sequence[Sequence[int]] = ()) -> str:
    """The kind of an operation or kernel by its name, and of a convolution by the shapes of its inputs.

    >>> kind_of("aten::native_batch_norm"), kind_of("aten::embedding")
    ('batch norm', 'other')
    >>> kind_of("aten::convolution", [[64, 16, 32, 32], [16, 1, 3, 3]])
    'pooling'
    """
    for kind, parts in KINDS.items():
        if any(part in name.lower() for part in parts):
            depthwise = any(list(shape[1:]) == [1, 3, 3] for shape in shapes)
            return "pooling" if kind == "convolution" and depthwise else kind
    return REST


@contextmanager
def peak_memory(where: str = "cpu") -> Iterator[list[int]]:
    """A list that holds, behind the context, by how many bytes memory grew at most inside of it.

    On the CPU the resident set of the process, looked at a few hundred times per second; on CUDA torch's own count.
    """
    peak: list[int] = []
    if where != "cpu":
        torch.cuda.reset_peak_memory_stats(where)
        before = torch.cuda.memory_allocated(where)
        yield peak
        synchronize(where)
        return peak.append(torch.cuda.max_memory_allocated(where) - before)
    _trim()
    before, most, ended = _resident(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.003):
            most[0] = max(most[0], _resident() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
    peak.append(max(most[0], _resident() - before))


def _trim() -> None:
    """Gives freed memory back to the system, so that its use anew shows; where the C library cannot, does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
