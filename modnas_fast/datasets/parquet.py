"""Image data sets as parquet files in the Hugging Face layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from modnas_fast.datasets.encoded import LFS_POINTER, Encoded
from modnas_fast.datasets.part_names import is_unlabelled, part_of
from modnas_fast.datasets.shelf import Library, Shelf, held_out
from modnas_fast.datasets.tree import Tree
from modnas_fast.runtime.errors import InputError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"
BATCH_BYTES = 16 << 20  # of image files that are read at once
READ_BYTES = 1 << 20  # of a file, in place of a whole column of a row group


def read_parquet(path: Path) -> Library:
    """The labelled images of one parquet file, all for training.

    Columns: `img` or `image`, a struct of `bytes` and `path` (or the bytes alone), and `label`, whole
    numbers. The class names are those of the schema's `huggingface` metadata; without them the distinct
    labels as text. Only labels are read here; images when fetched, a few at a time. Raises InputError
    for files that are no parquet or lack the columns (naming those found), and for labels that are null, not
    whole numbers or out of range.
    """
    return _read(path.stem, path, {"train": [path]}, ())


def read_shards(tree: Tree) -> Library:
    """The labelled images of a folder of parquet files, which may lie in sub-folders as in a clone of a hub's set.

    The part of a file is told by its name, else by the nearest folder that is named like a part; a lone file that
    tells none is training data. Raises InputError as `read_parquet`, and for files that do not tell their part,
    that lie in several folders, or without a training part.
    """
    found = tree.below("parquet")
    files = [file for file in found if not is_unlabelled(file.stem)] or found
    place = _one_place(tree, files)
    parts: dict[str, list[Path]] = {}
    for file in files:
        part = _part(file, tree.path)
        if part is None and len(files) > 1:
            raise InputError(
                f"data: {file} does not tell its part; wanted names like train-00000-of-00001.parquet, "
                f"found {_names(files)}"
            )
        parts.setdefault(part or "train", []).append(file)
    if "train" not in parts:
        raise InputError(f"data: no train-*.parquet in {place}; found {_names(files)}")
    beside = {
        "images beside the parquet files": len(tree.below("images")),
        "links that lead nowhere": len(tree.below("lost")),
        "parquet files of images without labels": len(found) - len(files),
    }
    notes = tuple(f"{count} {words} are not used" for words, count in beside.items() if count)
    return _read(tree.path.resolve().name, tree.path, parts, notes)


def _one_place(tree: Tree, files: list[Path]) -> Path:
    """The folder of all files, around those that are named like parts."""
    places = sorted({file.parent.parent if _is_part_folder(file.parent, tree.path) else file.parent for file in files})
    if len(places) > 1:
        names = ", ".join(str(place.relative_to(tree.path)) for place in places[:5])
        more = ", …" if len(places) > 5 else ""
        raise InputError(
            f"data: {tree.path} has parquet files of several data sets or configurations ({names}{more}); name one, "
            f"such as --data {places[-1]}"
        )
    return places[0]


def _is_part_folder(folder: Path, root: Path) -> bool:
    return folder != root and part_of(folder.name) is not None


def _part(file: Path, root: Path) -> str | None:
    found = part_of(file.stem)
    if found is None and _is_part_folder(file.parent, root):
        found = part_of(file.parent.name)
    return found[0] if found else None


def _read(name: str, path: Path, parts: dict[str, list[Path]], notes: tuple[str, ...]) -> Library:
    """The library of the files of each part; class names are told by the first training file."""
    raw = {part: [_open(file) for file in own] for part, own in parts.items()}
    columns = {part: [_labels(file) for file in own] for part, own in raw.items()}
    for part in [part for part in parts if part != "train" and _is_unlabelled(columns[part])]:
        count = sum(len(column) for column in columns.pop(part))
        notes = (*notes, f"{count} images of the {part} part are not used: all their labels are −1")
    names = _class_names(raw["train"][0].schema_arrow)
    values = sorted({int(value) for column in columns["train"] for value in pc.unique(column).to_pylist()})
    classes = names if names is not None else tuple(str(value) for value in values)
    codes = values if names is None else list(range(len(classes)))
    if codes and codes[0] < 0:
        raise InputError(f"data: column label of {path}: label {codes[0]} is below 0")
    shelves = {part: _shelf(raw[part], columns[part], codes, parts[part]) for part in columns}
    validation, test, more = held_out(shelves)
    return Library(name, classes, shelves["train"], validation, test, (*notes, *more))


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files[:5]) + (", …" if len(files) > 5 else "")


def _open(path: Path) -> pq.ParquetFile:
    try:
        with open(path, "rb") as start:
            if start.read(len(LFS_POINTER)) == LFS_POINTER:
                raise InputError(f"data: {path} is a pointer of Git LFS, not the data; run git lfs pull")
        file = pq.ParquetFile(path, buffer_size=READ_BYTES)
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


def _is_unlabelled(columns: list[pa.ChunkedArray]) -> bool:
    """Whether a part has images without labels alone, which the hub's data sets mark by −1."""
    values = {value for column in columns for value in pc.unique(column).to_pylist()}
    return values == {-1}


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


def _shelf(files: list[pq.ParquetFile], columns: list[pa.ChunkedArray], codes: list[int], paths: list[Path]) -> Shelf:
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

    def fetch(indices: Sequence[int]) -> Iterator[Encoded]:
        return _fetch(files, paths, indices)

    return Shelf(torch.cat(labels), fetch)


def _fetch(files: list[pq.ParquetFile], paths: list[Path], indices: Sequence[int]) -> Iterator[Encoded]:
    """The images of the given rows (rising), reading only row groups that hold one of them, a batch at a time."""
    wanted = torch.tensor(indices, dtype=torch.int64)
    start = 0
    for file, path in zip(files, paths, strict=True):
        first_row = start
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            low, high = torch.searchsorted(wanted, torch.tensor([start, stop])).tolist()
            if high > low:
                yield from _encoded(file, path, group, wanted[low:high] - start, start - first_row)
            start = stop


def _encoded(file: pq.ParquetFile, path: Path, group: int, rows: torch.Tensor, first_row: int) -> Iterator[Encoded]:
    """The images of some rows (rising) of a row group."""
    start = 0
    for values in _batches(file, path, group):
        low, high = torch.searchsorted(rows, torch.tensor([start, start + len(values)])).tolist()
        chosen = rows[low:high].tolist()
        for row, value in zip(chosen, values.take(pa.array(rows[low:high].numpy() - start)), strict=True):
            image = value.as_py()
            content = image.get("bytes") if isinstance(image, dict) else image
            label = (image.get("path") if isinstance(image, dict) else None) or "image"
            yield Encoded(f"{path.name} row {first_row + row} ({label})", content)
        start += len(values)


def _batches(file: pq.ParquetFile, path: Path, group: int) -> Iterator[pa.Array]:
    """The image column of a row group, some megabytes at a time."""
    column = _image_column(file)
    content = file.metadata.row_group(group)
    size = max(1, BATCH_BYTES * content.num_rows // max(1, content.total_byte_size))
    try:
        for batch in file.iter_batches(min(size, 4096), row_groups=[group], columns=[column], use_threads=False):
            yield batch.column(0)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"data: {path} cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
