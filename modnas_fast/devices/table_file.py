"""A table that somebody wrote, CSV or parquet: its cells with the place of each row, nothing guessed about types."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_text

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class TableFile:
    """Columns of a file by heading, in small letters, and where its rows stand.

    Cells of CSV are text as it stands there. Cells of parquet are Python's values of whatever the column is stored as:
    any kind of text, dictionary-encoded or not, is `str`. Millions of rows are read without a Python object for each.
    """

    file: Path
    headings: tuple[str, ...]
    columns: tuple[list[object] | pa.Array, ...]
    #: number of each row: the line of a CSV file, counted with the heading; the row of a parquet file from 1 on
    places: Sequence[int]
    #: what the numbers count
    place: str

    def column(self, heading: str) -> list[object]:
        """The cells below a heading. Raises InputError where two columns have it."""
        stored = self._stored(heading)
        return stored if isinstance(stored, list) else stored.to_pylist()

    def _stored(self, heading: str) -> list[object] | pa.Array:
        if self.headings.count(heading) > 1:
            raise InputError(f"{self.file}: two columns are called {heading}; keep one")
        return self.columns[self.headings.index(heading)]

    def at(self, row: int) -> str:
        """`FILE, line 7`, for messages."""
        return f"{self.file}, {self.place} {self.places[row]}"

    def names(self, heading: str) -> Names:
        """The cells of a column as names; whole numbers of a parquet file by their digits, blanks around left off.

        Raises InputError, with its place, for an empty cell and for what is no name.
        """
        stored = self._stored(heading)
        if isinstance(stored, pa.Array) and not stored.null_count:
            coded = stored if pa.types.is_dictionary(stored.type) else stored.dictionary_encode()
            distinct = [_as_text(value) for value in coded.dictionary.to_pylist()]
            if all(distinct) and not coded.indices.null_count:
                return _in_order(distinct, np.asarray(coded.indices))
        texts = self._texts(heading)
        place: dict[str, int] = {}
        codes = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
        return Names(list(place), codes)

    def _texts(self, heading: str) -> list[str]:
        found = [_as_text(value) for value in self.column(heading)]
        for row, text in enumerate(found):
            if text is None:
                value = self.column(heading)[row]
                raise InputError(f"{self.at(row)}: {heading} must be text, got {type(value).__name__} {value!r}")
            if not text:
                raise InputError(f"{self.at(row)}: every row needs its {heading}, this cell is empty")
        return [text or "" for text in found]

    def positive_numbers(self, heading: str) -> NDArray[np.float64]:
        """The cells of a column as numbers. Raises InputError, with its place, for what is no positive number."""
        stored = self._stored(heading)
        if isinstance(stored, pa.Array) and pa.types.is_floating(stored.type) and not stored.null_count:
            values = np.asarray(stored).astype(np.float64)
            if bool(((values > 0) & (values < np.inf)).all()):
                return values
        numbers = [_as_number(value) for value in self.column(heading)]
        for row, number in enumerate(numbers):
            if not 0 < number < float("inf"):
                value = self.column(heading)[row]
                got = "an empty cell" if value in (None, "") else repr(value)
                hint = "; write decimals with a point" if isinstance(value, str) and "," in value else ""
                raise InputError(f"{self.at(row)}: {heading} must be a positive number, got {got}{hint}")
        return np.array(numbers, np.float64)


class Names(NamedTuple):
    """A column of names."""

    #: in the order of their first rows
    distinct: list[str]
    #: place among them per row
    codes: NDArray[np.int64]

    def first_rows(self) -> list[int]:
        """Of each distinct name."""
        return [int(row) for row in np.unique(self.codes, return_index=True)[1]]


def _in_order(written: Sequence[str | None], codes: NDArray[np.int64]) -> Names:
    """Distinct names in the order of their first rows; several of `written` may be one name, some may not occur."""
    used, first = np.unique(codes, return_index=True)
    place: dict[str, int] = {}
    new = np.zeros(len(written), np.int64)
    for code in used[np.argsort(first)].tolist():
        new[code] = place.setdefault(written[code] or "", len(place))
    return Names(list(place), new[codes])


def read_table_file(file: Path) -> TableFile:
    """The table in a CSV file (commas, semicolons or tabs; any byte order mark) or a parquet file.

    Raises InputError where it is neither.
    """
    try:
        return _read_parquet(file) if _is_parquet(file) else _read_csv(file)
    except (pa.ArrowException, OSError, csv.Error, InputError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(f"{file} can be read neither as CSV nor as parquet ({reason})") from None


def _is_parquet(file: Path) -> bool:
    with open(file, "rb") as stream:
        return stream.read(4) == b"PAR1" or file.suffix.casefold() == ".parquet"


def _read_parquet(file: Path) -> TableFile:
    table = pq.read_table(file, partitioning=None)  # folders called a=b would become columns
    headings = tuple(_heading(name) for name in table.column_names)
    columns = tuple(_in_one_piece(column) for column in table.columns)
    return TableFile(file, headings, columns, range(1, len(table) + 1), "row")


def _in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array; dictionaries of its pieces are unified first."""
    found = column.unify_dictionaries().combine_chunks()
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _read_csv(file: Path) -> TableFile:
    text = read_text(file)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    rows, places = [], []
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append(row)
            places.append(reader.line_num)
    if not rows:
        raise InputError("it is empty")
    for row, place in zip(rows, places):
        if len(row) != len(rows[0]):
            raise InputError(f"line {place} has {len(row)} cells, the heading {len(rows[0])}")
    columns = tuple(list(column) for column in zip(*rows[1:])) or ([],) * len(rows[0])
    return TableFile(file, tuple(map(_heading, rows[0])), columns, places[1:], "line")


def _delimiter(text: str) -> str:
    """What separates most cells of the first line; a comma where nothing does."""
    first = text.lstrip("\r\n").partition("\n")[0]
    return max(DELIMITERS, key=first.count)


def _heading(name: str) -> str:
    return name.strip().casefold()


def _as_text(value: object) -> str | None:
    """The text of a cell, empty for none; None for what is no text."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _as_number(value: object) -> float:
    """The number of a cell, NaN for what is none."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return float("nan")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
