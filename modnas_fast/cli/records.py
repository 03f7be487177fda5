"""Flat records as text for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


def as_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a header; the columns are the keys of all records in the order in which they first come.

    >>> print(as_csv([{"a": 1.5, "b": None}, {"a": "x,y", "c": True}]), end="")
    a,b,c
    1.5,,
    "x,y",,True
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for record in records for key in record))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def as_json(records: Sequence[Mapping[str, Any]]) -> str:
    """A JSON list with a record per line."""
    return "[\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n]\n"
