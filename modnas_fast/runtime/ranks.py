"""The processes of one run under `torchrun`, of which this is one; a process that nobody joined is rank 0 of one.

All ranks make the same calls in the same order. What they exchange is JSON, bytes and tensors: nothing is unpickled.
Rank 0 alone reads and writes the run's folder, measures and prints.

A rank that ends is noticed at once by those that talk to it, which end too, and within seconds by torchrun, which ends
the others. One that hangs is given up after `STEP_MINUTES` within a step. While rank 0 measures, or trains a network
longer than others do, the others wait as long as it takes, asleep.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from modnas_fast.runtime.agent_store import agent_store, place_of_group
from modnas_fast.runtime.errors import InputError, one_line

#: after which a rank that does not come at all, or does not take its part in a step, is given up
STEP_MINUTES = 10
#: of waiting for rank 0 in stages that are its own: longer than any of them
PATIENCE = timedelta(days=14)
#: seconds between two looks at whether such a wait is over, at first and at most
LOOKS = 0.0005, 0.05

Result = TypeVar("Result")


class RankLost(InputError):
    """Another rank ended, or cannot be reached any longer."""


class EndedElsewhere(SystemExit):
    """Ends this process with status 2 and without a word: another rank says why."""

    def __init__(self) -> None:
        super().__init__(2)


class Ranks:
    """All ranks of a run, as seen by one.

    Args:
        patient: a group of torch.distributed of all ranks, for tensors on the CPU, whose waiting has no end; None: this
            process is alone.

    >>> ALONE.first, ALONE.size, ALONE.from_first(lambda: {"a": 1}), ALONE.gather("x"), ALONE.largest(3)
    (True, 1, {'a': 1}, ['x'], 3)
    """

    def __init__(self, patient: Any = None) -> None:
        self._patient = patient
        self.rank = 0 if patient is None else distributed.get_rank()
        self.size = 1 if patient is None else distributed.get_world_size()

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def joined(self) -> bool:
        """Whether torch.distributed connects them, be it a single one."""
        return self._patient is not None

    # ---- stages of rank 0 ----

    def from_first(self, compute: Callable[[], Result]) -> Result:
        """What `compute` gives on rank 0, plain values for JSON; on the others it is not called.

        Where it raises InputError on rank 0, the others end.
        """
        if not self.joined:
            return compute()
        content = json.loads(self.bytes_from_first(lambda: json.dumps(compute()).encode()))
        found: Result = content
        return found

    def bytes_from_first(self, compute: Callable[[], bytes]) -> bytes:
        """As `from_first`, of bytes."""
        if not self.joined:
            return compute()
        if self.first:
            try:
                content = compute()
            except InputError:
                self._broadcast(torch.tensor([-1]))
                raise
            self._broadcast(torch.tensor([len(content)]))
            self._broadcast(torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8))
            return content
        length = torch.zeros(1, dtype=torch.int64)
        self._broadcast(length)
        if length < 0:
            raise EndedElsewhere
        found = torch.empty(max(1, int(length)), dtype=torch.uint8)
        self._broadcast(found)
        return found[: int(length)].numpy().tobytes()

    def _broadcast(self, tensor: Tensor) -> None:
        self._wait(distributed.broadcast(tensor, 0, group=self._patient, async_op=True))

    # ---- stages of all ----

    def together(self, work: Callable[[], Result]) -> Result:
        """What `work` gives on this rank. Where it raises InputError on any, all end, and the lowest of those tells."""
        if not self.joined:
            return work()
        fault, found = None, None
        try:
            found = work()
        except InputError as error:
            fault = error
        faulty = [rank for rank, told in enumerate(self.gather(fault is not None)) if told]
        if not faulty:
            return found  # type: ignore[return-value]  # it was given
        if fault is None or self.rank != faulty[0]:
            raise EndedElsewhere from fault
        raise fault

    def gather(self, value: Any) -> list[Any]:
        """The plain values for JSON of all ranks, in their order, on every rank; waits without an end."""
        if not self.joined:
            return [value]
        return [json.loads(part) for part in self.gather_bytes(json.dumps(value).encode())]

    def gather_bytes(self, own: bytes) -> list[bytes]:
        """As `gather`, of bytes."""
        if not self.joined:
            return [own]
        content = torch.frombuffer(bytearray(own or b"\0"), dtype=torch.uint8)[: len(own)]
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        length = torch.tensor([len(content)])
        self._wait(distributed.all_gather(lengths, length, group=self._patient, async_op=True))
        longest = int(torch.cat(lengths).max())
        padded = torch.nn.functional.pad(content, (0, longest - len(content)))
        parts = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
        self._wait(distributed.all_gather(parts, padded, group=self._patient, async_op=True))
        return [part[: int(size)].numpy().tobytes() for part, size in zip(parts, lengths)]

    def _wait(self, work: Any) -> None:
        """For a message that may be long in coming; signals are answered meanwhile, and no core is kept busy."""
        with told():
            pause, longest = LOOKS
            while not work.is_completed():
                time.sleep(pause)
                pause = min(2 * pause, longest)
            work.wait()

    # ---- within a step ----

    def sum_(self, tensor: Tensor) -> Tensor:
        """The tensor, replaced by the sum over all ranks; it is contiguous, and of one shape everywhere."""
        if self.joined:
            with told():
                distributed.all_reduce(tensor)
        return tensor

    def begin_sum_(self, tensor: Tensor) -> Callable[[], None]:
        """Begins `sum_`; what is returned ends it."""
        if not self.joined:
            return lambda: None
        with told():
            work = distributed.all_reduce(tensor, async_op=True)

        def end() -> None:
            with told():
                work.wait()

        return end

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        if not self.joined:
            return number
        found = torch.tensor([number])
        with told():
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return int(found)


#: a process that no other joined
ALONE = Ranks()


@contextmanager
def told() -> Iterator[None]:
    """Within the block, what torch.distributed raises is told in one line."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            f"another rank ended or cannot be reached ({_reason(error)}); the run ends here, and goes on from its last "
            "checkpoint with --resume, or with torchrun --max-restarts by itself"
        ) from None


def _reason(error: Exception) -> str:
    """What torch.distributed says, without the places in its sources and what it guesses.

    >>> _reason(RuntimeError("[/src/pair.cc:537] Read error: reset by peer. This is typically caused by …"))
    'Read error: reset by peer'
    """
    kind = f"{type(error).__name__}: "
    words = re.sub(r"\[/[^]]*\] ?", "", one_line(error).removeprefix(kind))
    return words.partition(". ")[0][:160]


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks that torchrun's environment tells of, until the end of the context; `ALONE` where it tells of none.

    A group of torch.distributed that is there already is used, and stays. Raises InputError where ranks do not meet.
    """
    if distributed.is_available() and distributed.is_initialized():
        yield Ranks(_patient_group())
        return
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    _join(int(os.environ.get("RANK", "0")), size)
    try:
        yield Ranks(_patient_group())
    except RankLost:  # a group with a rank missing cannot be left in order
        raise
    except BaseException:
        distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def _join(rank: int, size: int) -> None:
    cuda = torch.cuda.is_available() and distributed.is_nccl_available()
    if cuda:  # each rank computes on a GPU of its own, where it uses one
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    backend, timeout = "cpu:gloo,cuda:nccl" if cuda else "gloo", timedelta(minutes=STEP_MINUTES)
    try:
        store = agent_store(timeout)
        place = None if store is None else place_of_group(store, rank, size, timeout)
        distributed.init_process_group(backend, timeout=timeout, store=place, rank=rank, world_size=size)
    except (RuntimeError, ValueError, TimeoutError) as error:
        address = f"{os.environ.get('MASTER_ADDR', 'MASTER_ADDR')}:{os.environ.get('MASTER_PORT', 'MASTER_PORT')}"
        raise InputError(
            f"rank {rank} of {size} on {platform.node()} did not meet the others at {address} "
            f"({_reason(error)}): is that host reachable from here, its port open, and the interface right "
            "(GLOO_SOCKET_IFNAME)?"
        ) from None


def _patient_group() -> Any:
    with told():
        return distributed.new_group(backend="gloo", timeout=PATIENCE)
