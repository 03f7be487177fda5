"""SIGINT and SIGTERM that let a search write its checkpoint first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The process was asked to stop; `signal_number` tells by which signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Stopper:
    """Turns SIGINT and SIGTERM into `Stopped`: at once, or inside `deferred()` only when `check()` is called.

    A second signal always stops at once. Without `listening()` nothing is changed and `check()` does nothing.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._deferred = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the two signals for the duration of the context."""
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Holds a signal back until `check()`, which the end of the context is too."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    @property
    def requested(self) -> int:
        """The number of the signal that is held back; 0 for none."""
        return self._pending or 0

    def request(self, number: int) -> None:
        """Holds a signal back that another process got."""
        self._pending = self._pending or number

    def check(self) -> None:
        """Raises Stopped where a signal is held back."""
        if self._pending is not None:
            raise Stopped(self._pending)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._deferred and self._pending is None:
            self._pending = number
        else:
            raise Stopped(number)
