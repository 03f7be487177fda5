"""A limit for work that cannot be asked to stop, such as compiling."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TookTooLong(BaseException):
    """The limit of `at_most`; no Exception, so that no handler on the way takes it for a fault of the work."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TookTooLong within the block when `seconds` are over; in the main thread alone."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
