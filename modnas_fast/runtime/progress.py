"""Progress of long stages: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

Advance = Callable[[int], None]

#: seconds between two plain lines of one stage
LINE_INTERVAL = 5.0


def behind(advance: Advance, before: int) -> Advance:
    """`advance` of a part of a stage behind `before` units."""
    return lambda done: advance(before + done)


class Reporter(Protocol):
    """Where a run tells what it does."""

    def stage(
        self, title: str, total: int, begun: int = 0
    ) -> AbstractContextManager[Advance]:  # pragma: no cover - protocol
        """A context that yields `advance(done)`, to be called with the units finished so far.

        `begun` units were finished before, by an earlier process.
        """

    def say(self, line: str) -> None:  # pragma: no cover - protocol
        """One line for the user."""


class Silent:
    """Tells nothing: the default of the Python API."""

    @contextmanager
    def stage(self, title: str, total: int, begun: int = 0) -> Iterator[Advance]:
        """Ignores progress."""
        yield lambda done: None

    def say(self, line: str) -> None:
        """Ignores the line."""


class Terminal:
    """Bars on a terminal, lines such as `Searching 120/600 (20%), 1:03 left` in a pipe or log."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr)

    def say(self, line: str) -> None:
        """Prints the line above any bar."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int, begun: int = 0) -> Iterator[Advance]:
        """A bar, or plain lines at least five seconds apart; a closing line tells the seconds it took."""
        start = time.monotonic()
        context = self._bar if self.console.is_terminal else self._lines
        with context(title, total, begun) as advance:
            yield advance
        self.say(f"{title}: done in {time.monotonic() - start:.1f} s")

    @contextmanager
    def _bar(self, title: str, total: int, begun: int) -> Iterator[Advance]:
        def whole(width: int) -> Column:
            return Column(no_wrap=True, min_width=width)  # where room lacks, the title stands on several lines

        columns = (
            TextColumn("{task.description}", table_column=Column()),
            BarColumn(None, table_column=Column(ratio=1)),
            MofNCompleteColumn(table_column=whole(len(f"{total}/{total}"))),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=whole(len("0:00:00"))),
            TextColumn("left", table_column=whole(len("left"))),
        )
        with Progress(*columns, console=self.console, transient=True, expand=True) as progress:
            bar = progress.add_task(title, total=total, completed=begun)
            yield lambda done: progress.update(bar, completed=done)

    @contextmanager
    def _lines(self, title: str, total: int, begun: int) -> Iterator[Advance]:
        start = last = time.monotonic()

        def advance(done: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < LINE_INTERVAL or done <= begun:
                return
            last = now
            left = (now - start) / (done - begun) * (total - done)
            self.say(f"{title} {done}/{total} ({done / total:.0%}), {_clock(left)} left")

        yield advance


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{seconds:02d}"
