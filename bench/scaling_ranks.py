"""Two processes on this machine that exchange over gloo: what messages of a search take, and whole steps in turns."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from modnas_fast.bench.runner import seconds_of
from modnas_fast.bench.step_setting import Setting, make_search
from modnas_fast.runtime.mesh import ALONE_MESH, make_mesh
from modnas_fast.runtime.ranks import Ranks, joined_ranks

#: processes that exchange
RANKS = 2
#: of waiting for one another
PATIENCE = timedelta(minutes=60)

Work = Callable[[Ranks], Any]


class Message(NamedTuple):
    """What ranks exchange at once, in several parts where it is large."""

    name: str
    #: `all_reduce` or `all_gather`
    kind: str
    #: bytes that a rank gives, of each part
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes that a rank gives."""
        return sum(self.sizes)


def on_ranks(*works: Work) -> list[Any]:
    """What functions of modules, or partials of such, give on rank 0 of two processes of one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, (works, folder), nprocs=RANKS)
        found: list[Any] = json.loads((Path(folder) / "found.json").read_text())
        return found


def _rank(rank: int, works: Sequence[Work], folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS, timeout=PATIENCE)
    try:
        with joined_ranks() as ranks:
            found = [work(ranks) for work in works]
        if rank == 0:
            (Path(folder) / "found.json").write_text(json.dumps(found))
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def exchanged(ranks: Ranks, messages: Sequence[Message], rounds: int) -> list[float]:
    """Seconds of each message: the median of so many rounds, of the slower rank."""
    return [_seconds(ranks, message, rounds) for message in messages]


def _seconds(ranks: Ranks, message: Message, rounds: int) -> float:
    send = _reduced(ranks, message) if message.kind == "all_reduce" else _gathered(ranks, message)
    send()
    found = []
    for _ in range(rounds):
        distributed.barrier()
        found.append(max(ranks.gather(seconds_of(send))))
    return statistics.median(found)


def _reduced(ranks: Ranks, message: Message) -> Callable[[], None]:
    """Sums that are under way together, as those of w's gradients are."""
    parts = [torch.zeros(size // 4) for size in message.sizes]

    def send() -> None:
        for end in [ranks.begin_sum_(part) for part in parts]:
            end()

    return send


def _gathered(ranks: Ranks, message: Message) -> Callable[[], None]:
    parts = [torch.zeros(size // 4) for size in message.sizes]
    whole = [[torch.empty_like(part) for _ in range(ranks.size)] for part in parts]

    def send() -> None:
        for found, part in zip(whole, parts):
            distributed.all_gather(found, part)

    return send


def steps_in_turns(ranks: Ranks, setting: Setting, rounds: int) -> dict[str, list[list[float]]]:
    """Whole steps of NAS-Bench-201, by one rank while the other sleeps, and by both, in turns.

    Of each, seconds by the clock and seconds of CPU, of the slower rank: on a machine that does other work besides, the
    second tells what ranks compute, but not how they wait for each other and for memory.
    """
    together = make_search(setting, mesh=make_mesh((ranks.size, 1), ranks))
    alone = make_search(setting, mesh=ALONE_MESH) if ranks.first else None
    found: dict[str, list[list[float]]] = {"one rank": [], "two ranks": []}
    for name in _turns(rounds):
        if name == "two ranks":
            distributed.barrier()
            found[name].append([max(times) for times in zip(*ranks.gather(_clock_and_cpu(together.step)))])
        else:
            found[name].append(ranks.from_first(lambda: _clock_and_cpu(alone.step) if alone else []))
    return {name: times[1:] for name, times in found.items()}  # the first of each made plans and buffers


def _clock_and_cpu(call: Callable[[], object]) -> list[float]:
    begun = time.process_time()
    seconds = seconds_of(call)
    return [seconds, time.process_time() - begun]


def _turns(rounds: int) -> Iterator[str]:
    for _ in range(1 + rounds):
        yield "one rank"
        yield "two ranks"
