"""Official benchmark objects of any space, turned into plain tables: which space's converter takes what."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces.gpt import convert as gpt
from modnas_fast.spaces.nb201 import convert as nb201


def convert(source: Path, out: Path | None, *, dataset: str | None, reporter: Reporter) -> str:
    """Writes the table of an official object; what was written, in words.

    Args:
        source: a file, or a folder of files.
        out: the table; None: named after the source, in the working folder.
        dataset: which part of the object is meant, where it has several.
        reporter: where progress is told.

    Raises InputError for what no space's converter takes, and where `out` exists.
    """
    if source.is_dir() and gpt.raw_files(source):
        return gpt.convert(source, out, scale=dataset, reporter=reporter)
    out = out or Path(f"{source.resolve().name.partition('.')[0]}.csv")
    columns, rows = nb201.convert(source, out, dataset=dataset, reporter=reporter)
    return f"{out}: {rows:,} rows of {', '.join(columns)}"
