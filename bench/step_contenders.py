"""The contenders of a whole search step, and which of them fit into memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from modnas_fast.bench.batched_supernet import BatchedSupernet
from modnas_fast.bench.published_step import PublishedStep
from modnas_fast.bench.published_supernet import PublishedSupernet
from modnas_fast.bench.runner import seconds_of, shown_bytes
from modnas_fast.bench.step_parts import (
    Function,
    functions_of_published,
    functions_of_search,
    peak_memory,
)
from modnas_fast.bench.step_setting import Setting, make_search
from modnas_fast.runtime.free_memory import free_memory
from modnas_fast.search.bilevel import Search

#: devices and images of the small step that foretells time and memory of large ones; a GPU takes as long for less
PROBES = {"cpu": (2, 8), "cuda": (4, 64)}
#: of the free memory, what a contender may be foretold to take
MEMORY_SHARE = 0.9
OURS = "ours"
#: on a CPU, where the other is in float32
OURS_BFLOAT16 = "ours, bfloat16"


@dataclass
class Contender:
    """One way to make a step."""

    state: Search | PublishedStep
    functions: list[Function]
    #: what the small step foretold, or 0
    expected_seconds: float = 0.0
    expected_bytes: int = 0
    #: of the first step
    first_seconds: float = 0.0
    peak_bytes: int = 0


def published(setting: Setting) -> Contender:
    step = PublishedStep(setting)
    return Contender(step, functions_of_published(step))


def plain_batched(setting: Setting, compiled: bool = False) -> Contender:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.config.seed)
        supernet = PublishedSupernet(setting.classes, setting.channels, setting.cells)
    search = make_search(setting, BatchedSupernet(supernet, compiled))
    return Contender(search, functions_of_search(search))


def ours(setting: Setting) -> Contender:
    search = make_search(setting)
    return Contender(search, functions_of_search(search))


MAKERS: dict[str, Callable[[Setting], Contender]] = {
    "published loop": published,
    "plain batched": plain_batched,
    "compiled": lambda setting: plain_batched(setting, compiled=True),
    OURS: ours,
    OURS_BFLOAT16: lambda setting: ours(replace(setting, activations="bfloat16")),
}


def foretold(setting: Setting, name: str) -> tuple[float, int]:
    """Seconds and bytes of a step in proportion to T·B, from a small one; zeros where that is hardly smaller."""
    small = setting.smaller(*PROBES[setting.where])
    scale = setting.devices * setting.batch / (small.devices * small.batch)
    if scale <= 4:
        return 0.0, 0
    # eager stands for compiled: compiling takes minutes, and the step itself hardly more
    step = MAKERS["plain batched" if name == "compiled" else name](small).state.step
    step()
    with peak_memory(setting.where) as peak:
        seconds = seconds_of(step, setting.where)
    del step
    release(setting.where)
    return scale * seconds, int(scale * peak[0])


def release(where: str) -> None:
    """Gives back memory that nothing holds any more."""
    gc.collect()
    if where != "cpu":
        torch.cuda.empty_cache()


def admitted(setting: Setting, names: list[str]) -> tuple[dict[str, Contender], dict[str, str]]:
    """The contenders that memory suffices for, and why others are left out."""
    contenders, skipped = {}, {}
    for name in names:
        seconds, size = foretold(setting, name)
        free = free_memory(torch.device(setting.where))
        if free is not None and size > MEMORY_SHARE * free:
            skipped[name] = f"would take about {shown_bytes(size)} of memory, {shown_bytes(free)} are free"
            continue
        contenders[name] = MAKERS[name](setting)
        contenders[name].expected_seconds, contenders[name].expected_bytes = seconds, size
    return contenders, skipped
