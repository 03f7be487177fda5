"""Image data sets as parquet files in the Hugging Face layout."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from modnas_fast.datasets.images import Encoded
from modnas_fast.datasets.shelf import ALIASES, Library, Shelf, held_out
from modnas_fast.errors import InputError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder, or else of its sub-folder `data`, sorted; hidden ones left out."""
    for place in (folder, folder / "data"):
        files = sorted(path for path in place.glob("*.parquet") if not path.name.startswith("."))
        if files:
            return files
    return []


def read_parquet(path: Path) -> Library:
    """The labelled images of a parquet file, or of a folder with train-*.parquet and other parts' shards.

    Columns: `img` or `image`, a struct of `bytes` and `path` (or the bytes alone), and `label`, whole
    numbers. The class names are those of the schema's `huggingface` metadata; without them the distinct
    labels as text. Only labels are read here; images when fetched, row group by row group. Raises InputError
    for files that are no parquet or lack the columns (naming those found), for labels that are null, not
    whole numbers or out of range, and for a folder whose shards do not tell their part.
    """
    files = [path] if path.is_file() else parquet_files(path)
    if not files:
        raise InputError(f"data: no parquet files in {path}")
    parts = _parts(files)
    if "train" not in parts:
        raise InputError(f"data: no train-*.parquet in {path}; found {_names(files)}")
    raw = {part: [_open(file) for file in own] for part, own in parts.items()}
    columns = {part: [_labels(file) for file in own] for part, own in raw.items()}
    names = _class_names(raw["train"][0].schema_arrow)
    values = sorted({int(value) for column in columns["train"] for value in pc.unique(column).to_pylist()})
    classes = names if names is not None else tuple(str(value) for value in values)
    codes = values if names is None else list(range(len(classes)))
    if codes and codes[0] < 0:
        raise InputError(f"data: column label of {path}: label {codes[0]} is below 0")
    shelves = {part: _shelf(raw[part], columns[part], codes, parts[part]) for part in parts}
    validation, test, notes = held_out(shelves)
    name = path.stem if path.is_file() else path.resolve().name
    return Library(name, classes, shelves["train"], validation, test, notes)


def _parts(files: list[Path]) -> dict[str, list[Path]]:
    """The shards of each part by the first word of their names; a lone file is training data."""
    if len(files) == 1:
        return {"train": files}
    parts: dict[str, list[Path]] = {}
    for file in files:
        word = re.split(r"[-_.]", file.name.lower())[0]
        if word not in ALIASES:
            raise InputError(
                f"data: {file} does not tell its part; wanted names like train-00000-of-00001.parquet, "
                f"found {_names(files)}"
            )
        parts.setdefault(ALIASES[word], []).append(file)
    return parts


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files[:5]) + (", …" if len(files) > 5 else "")


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"data: {path} is no readable parquet file: {_first_line(error)}") from error
    found = file.schema_arrow.names
    if not any(name in found for name in IMAGE_COLUMNS) or LABEL_COLUMN not in found:
        raise InputError(
            f"data: {path} needs a column img or image and a column label, found {', '.join(found)}; "
            "rename the columns you mean"
        )
    column = _image_column(file)
    kind = file.schema_arrow.field(column).type
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    if not _is_binary(kind) and not _is_binary(fields.get("bytes", pa.null())):
        raise InputError(f"data: column {column} of {path}: wanted {{bytes, path}} or bytes, found {kind}")
    return file


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _image_column(file: pq.ParquetFile) -> str:
    return next(name for name in IMAGE_COLUMNS if name in file.schema_arrow.names)


def _labels(file: pq.ParquetFile) -> pa.ChunkedArray:
    kind = file.schema_arrow.field(LABEL_COLUMN).type
    if not pa.types.is_integer(kind):
        raise InputError(f"data: column label: wanted whole numbers, found {kind}")
    try:
        column = file.read(columns=[LABEL_COLUMN]).column(LABEL_COLUMN).cast(pa.int64())
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"data: column label cannot be read: {_first_line(error)}") from error
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise InputError(f"data: column label: {column.null_count} labels are null, the first in row {row}")
    return column


def _class_names(schema: pa.Schema) -> tuple[str, ...] | None:
    """The names in the Hugging Face metadata, or None where there are none that can be understood."""
    try:
        text = json.loads((schema.metadata or {})[b"huggingface"])
        names = text["info"]["features"][LABEL_COLUMN]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def _shelf(
    files: list[pq.ParquetFile], columns: list[pa.ChunkedArray], codes: list[int], paths: list[Path]
) -> Shelf:
    """The rows of several files as one: labels are positions in `codes`."""
    labels = []
    for column, path in zip(columns, paths, strict=True):
        positions = pc.index_in(column, value_set=pa.array(codes, type=column.type))
        if positions.null_count:
            row = positions.is_null().index(True).as_py()
            raise InputError(
                f"data: label {column[row].as_py()} in row {row} of {path} is out of range: "
                f"wanted {codes[0]} to {codes[-1]}"
            )
        labels.append(torch.tensor(positions.to_numpy(), dtype=torch.int64))

    def fetch(indices: Sequence[int]) -> list[Encoded]:
        return _fetch(files, paths, indices)

    return Shelf(torch.cat(labels), fetch)


def _fetch(files: list[pq.ParquetFile], paths: list[Path], indices: Sequence[int]) -> list[Encoded]:
    """The images of the given rows (rising), reading only row groups that hold one of them."""
    wanted = torch.tensor(indices, dtype=torch.int64)
    found: list[Encoded] = []
    start = 0
    for file, path in zip(files, paths, strict=True):
        first_row = start
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            low, high = torch.searchsorted(wanted, torch.tensor([start, stop])).tolist()
            if high > low:
                rows = (wanted[low:high] - start).tolist()
                found += _encoded(file, path, group, rows, start - first_row)
            start = stop
    return found


def _encoded(
    file: pq.ParquetFile, path: Path, group: int, rows: list[int], first_row: int
) -> list[Encoded]:
    column = _image_column(file)
    try:
        values = file.read_row_group(group, columns=[column]).column(column).take(pa.array(rows))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"data: {path} cannot be read: {_first_line(error)}") from error
    encoded = []
    for row, value in zip(rows, values.to_pylist(), strict=True):
        content = value.get("bytes") if isinstance(value, dict) else value
        label = (value.get("path") if isinstance(value, dict) else None) or "image"
        encoded.append(Encoded(f"{path.name} row {first_row + row} ({label})", content))
    return encoded


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
