"""Tables that fit the terminal without cutting a name or a figure: whole columns go instead, and that is said."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

#: of output that goes into a file or another program, where nothing says how wide it may be
UNLIMITED = 10_000
#: characters that a table adds to each column, and one more
FRAME = 3


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        heading: may stand on several lines, broken between words.
        rank: where the terminal is too narrow, columns of the highest rank are left out first; those of rank 0 stay.
        right: figures stand at the right.
        wraps: its cells may stand on several lines, broken between words.
    """

    heading: str
    rank: int = 0
    right: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class FittedTable:
    """A table for whatever width it is printed at; see `show`.

    Where the columns of rank 0 alone are too wide, each row becomes a paragraph with a line for each column.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str | None = None
    bold: Collection[int] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = self._kept(options.max_width)
        if self._least(kept) > options.max_width:
            yield from self._paragraphs()
            return
        yield self._table(kept, options.max_width)
        left_out = [column.heading for place, column in enumerate(self.columns) if place not in kept]
        if left_out:
            yield Text(f"Not shown at a width of {options.max_width}: {', '.join(left_out)}.")

    def _kept(self, width: int) -> list[int]:
        kept = list(range(len(self.columns)))
        while self._least(kept) > width:
            last = max(kept, key=lambda place: (self.columns[place].rank, place))
            if self.columns[last].rank == 0:
                break
            kept.remove(last)
        return kept

    def _least(self, kept: Sequence[int]) -> int:
        """The width without which something would be cut."""
        return sum(FRAME + self._narrow(place) for place in kept) + 1

    def _narrow(self, place: int) -> int:
        column, cells = self.columns[place], self._cells(place)
        words = [word for text in (column.heading, *(cells if column.wraps else ())) for word in text.split()]
        return max(map(cell_len, [*words, *(() if column.wraps else cells), " "]))

    def _wide(self, place: int) -> int:
        return max(map(cell_len, [self.columns[place].heading, *self._cells(place)]))

    def _cells(self, place: int) -> list[str]:
        return [row[place] for row in self.rows]

    def _widths(self, kept: Sequence[int], width: int) -> dict[int, int]:
        """The width of every column; room that is left goes where most lines would be needed."""
        widths = {place: self._narrow(place) for place in kept}
        wide = {place: self._wide(place) for place in kept}
        for _ in range(width - self._least(kept)):
            place = max(kept, key=lambda place: wide[place] / widths[place])
            if wide[place] <= widths[place]:
                break
            widths[place] += 1
        return widths

    def _table(self, kept: Sequence[int], width: int) -> Table:
        widths = self._widths(kept, width)
        table = Table(title=Text(self.title) if self.title else None)
        for place in kept:
            column = self.columns[place]
            table.add_column(
                Text(column.heading),
                justify="right" if column.right else "left",
                width=widths[place],
                overflow="fold",
            )
        for number, row in enumerate(self.rows):
            table.add_row(*(Text(row[place]) for place in kept), style="bold" if number in self.bold else None)
        return table

    def _paragraphs(self) -> RenderResult:
        if self.title:
            yield WholeLine(self.title)
        for row in self.rows:
            yield WholeLine(row[0])
            for column, cell in zip(self.columns[1:], row[1:]):
                yield WholeLine(f"  {column.heading}: {cell}")


@dataclass(frozen=True)
class WholeLine:
    """A line that is never broken but by the terminal itself, so that it can be copied."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self.text + "\n")


def show(*parts: RenderableType) -> None:
    """Prints tables and lines on standard output: as wide as the terminal or `COLUMNS`, else without a limit."""
    console = Console()
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console = Console(width=UNLIMITED)
    for part in parts:
        console.print(part, crop=False)
