"""Work on parts of the devices, on as many threads as torch may use.

Networks of small channels have many operations of a millisecond or less, which two threads share badly: two networks
at a time on one thread each take less time than one after the other on two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def workers(device: torch.device, parts: int) -> int:
    """How many of `parts` are worked on at a time: on the CPU one per thread of torch's, on a GPU one."""
    return max(1, min(torch.get_num_threads(), parts)) if device.type == "cpu" else 1


def in_parallel(work: Callable[[Part], Result], parts: Sequence[Part], count: int) -> list[Result]:
    """`work` of each part, in their order, `count` at a time; torch's threads are divided among them.

    What the caller's thread sets for itself, such as the mode of autograd, `work` must set again.

    >>> in_parallel(lambda x: x * x, [1, 2, 3], 2)
    [1, 4, 9]
    """
    if count == 1:
        return [work(part) for part in parts]
    return list(_pool(count, torch.get_num_threads() // count).map(work, parts))


@cache
def _pool(count: int, threads: int) -> ThreadPoolExecutor:
    """`count` threads, each of which lets torch use `threads`."""
    before, together = torch.get_num_threads(), Barrier(count)

    def start(_: int) -> None:
        torch.get_num_threads()  # or else the first operation would take the number that is set last, anywhere
        torch.set_num_threads(max(1, threads))
        together.wait()  # until all of them are there

    pool = ThreadPoolExecutor(count, thread_name_prefix="modnas-fast")
    list(pool.map(start, range(count)))
    torch.set_num_threads(before)  # those set theirs for threads to come, too
    return pool
