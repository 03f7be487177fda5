"""`modnas-fast tables`: everything that a finished folder tells, as tidy tables for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError


def tables(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished search, reproduce or baselines.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the files. Default: RUN/tables.")] = None,
    formats: Annotated[
        str, typer.Option("--formats", metavar="A,B", help="csv, parquet or both, for every table.")
    ] = "csv,parquet",
) -> None:
    """Write the tables of a finished folder, one row per fact: networks, fronts, scores, logs and anytime curves.

    A table that the folder has nothing for is not written. docs/tables.md describes the columns.

    Examples:

      modnas-fast tables runs/digits-001

      modnas-fast tables runs/baselines-nb201-cifar10-300 --out tables --formats csv
    """
    from modnas_fast.cli.records import as_csv, write_parquet
    from modnas_fast.result import tables_of
    from modnas_fast.runtime.files import write_text

    wanted = list(dict.fromkeys(part.strip() for part in formats.split(",")))
    if not set(wanted) <= {"csv", "parquet"}:
        raise InputError(f"--formats: wanted csv, parquet or csv,parquet, got {formats!r}")
    folder = folder.expanduser()
    into = folder / "tables" if out is None else out.expanduser()
    for name, records in tables_of(folder).items():
        for suffix in wanted:
            file = into / f"{name}.{suffix}"
            if suffix == "csv":
                write_text(file, as_csv(records))
            else:
                write_parquet(file, records)
            print(file)
