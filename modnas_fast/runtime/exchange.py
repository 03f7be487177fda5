"""How ranks exchange: who they are, what a sum over all of them takes, and what would slow or break a search."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import distributed

from modnas_fast.runtime.ranks import Ranks

#: bytes of the messages that are timed: a step of Φ, statistics within a pass, a part of w's gradients
MESSAGES = (4_096, 262_144, 25_000_000)
#: sums that are timed, behind some that are not
ROUNDS, WARMUP = 9, 2
#: MB/s below which a step of w waits longer for its gradients than most compute
SLOW = 100.0


class Sum(NamedTuple):
    """A sum over all ranks."""

    #: bytes of each rank's message
    size: int
    #: median of several, of the slowest rank
    seconds: float

    @property
    def megabytes_per_second(self) -> float:
        """Of each rank's message."""
        return self.size / self.seconds / 1e6


class Exchange(NamedTuple):
    """What was found of all ranks, the same on each of them."""

    #: by rank: host, device, threads, cores, versions
    ranks: list[dict[str, Any]]
    backend: str
    sums: list[Sum]
    #: in words, with the remedy
    faults: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sums = [{"bytes": each.size, "seconds": each.seconds} for each in self.sums]
        return {"ranks": self.ranks, "backend": self.backend, "sums": sums, "faults": self.faults}


def probe(ranks: Ranks) -> Exchange:
    """Lets all ranks of torchrun tell who they are, and times sums over them; all call it together.

    Raises RankLost where one cannot be reached.
    """
    place = _place(ranks)
    told = ranks.gather({**_own(place), "rank": ranks.rank})
    sums = [_timed(ranks, size, place) for size in MESSAGES]
    backend = str(distributed.get_backend()) if ranks.joined else "none"
    return Exchange(told, backend, sums, _faults(told, sums))


def _place(ranks: Ranks) -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if _nccl(ranks) else torch.device("cpu")


def _nccl(ranks: Ranks) -> bool:
    return ranks.joined and torch.cuda.is_available() and distributed.is_nccl_available()


def _own(place: torch.device) -> dict[str, Any]:
    cuda = place.type == "cuda"
    return {
        "host": platform.node(),
        "device": f"{place} ({torch.cuda.get_device_name(place)})" if cuda else "cpu",
        "gpu": str(torch.cuda.get_device_properties(place).uuid) if cuda else None,
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "versions": {"modnas-fast": version("modnas-fast"), "torch": torch.__version__},
    }


def _timed(ranks: Ranks, size: int, place: torch.device) -> Sum:
    message, seconds = torch.zeros(size // 4, device=place), []
    for number in range(WARMUP + ROUNDS):
        begun = time.perf_counter()
        ranks.sum_(message)
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        if number >= WARMUP:
            seconds.append(time.perf_counter() - begun)
    return Sum(size, max(ranks.gather(statistics.median(seconds))))


def _faults(told: Sequence[dict[str, Any]], sums: Sequence[Sum]) -> list[str]:
    """What would slow or break a search."""
    found = []
    for package in ("modnas-fast", "torch"):
        versions = {each["versions"][package]: each["host"] for each in told}
        if len(versions) > 1:
            which = ", ".join(f"{number} on {host}" for number, host in versions.items())
            found.append(f"{package} differs: {which}; install one version everywhere, or ranks drift apart")
    doubled = [gpu for gpu, count in Counter(each["gpu"] for each in told if each["gpu"]).items() if count > 1]
    if doubled:
        found.append(f"{len(doubled)} GPUs have two ranks or more; start as many processes per node as it has GPUs")
    for host in dict.fromkeys(each["host"] for each in told):
        own = [each for each in told if each["host"] == host]
        threads, cores = sum(each["threads"] for each in own if each["device"] == "cpu"), own[0]["cores"]
        if threads > cores:
            found.append(
                f"{host}: {len(own)} ranks take {threads} threads on {cores} cores; set OMP_NUM_THREADS="
                f"{max(1, cores // len(own))}, or start fewer"
            )
    if len(told) > 1 and sums[-1].megabytes_per_second < SLOW:
        found.append(
            f"sums run at {sums[-1].megabytes_per_second:.0f} MB/s; choose the fast network with GLOO_SOCKET_IFNAME or "
            "NCCL_SOCKET_IFNAME, or divide devices instead of minibatches (search.mesh)"
        )
    return found
