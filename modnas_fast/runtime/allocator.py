"""The C library's memory: freed blocks are kept for the next tensors instead of given back to the system."""

from __future__ import annotations

import ctypes

#: parameters of mallopt in glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Whether this process keeps from now on what it frees; False where the C library is not glibc.

    A training step frees and asks for the same hundreds of megabytes again. Memory that went back to the system comes
    page by page, each with a fault: about a tenth of a step of the supernet at the paper's size. Holds for the
    whole process, so a program decides on it, and no function of the library; where latencies are measured it
    would change what is measured.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 64 * 2**20))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)
