"""Flat records as text and files for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modnas_fast.runtime.files import replacing


def as_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a header; the columns are the keys of all records in the order in which they first come.

    >>> print(as_csv([{"a": 1.5, "b": None}, {"a": "x,y", "c": True}]), end="")
    a,b,c
    1.5,,
    "x,y",,True
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(records), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def as_json(records: Sequence[Mapping[str, Any]]) -> str:
    """A JSON list with a record per line."""
    return "[\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n]\n"


def write_parquet(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes the same columns as `as_csv` by rename, each of the type of its values; absent values are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: [record.get(name) for record in records] for name in _columns(records)})
    with replacing(file) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _columns(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all records in the order in which they first come."""
    return list(dict.fromkeys(key for record in records for key in record))
