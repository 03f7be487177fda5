"""`modnas-fast front`: the fronts of a finished run as a table for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError


def front(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    device: Annotated[str | None, typer.Option(help="One device of the run. Default: all of them.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV with a header, the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of records with the same keys.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file instead of printing.")] = None,
) -> None:
    """Print the fronts of a finished run's devices: a row per network with its values and where they come from.

    Examples:

      modnas-fast front runs/digits-001 --csv --out fronts.csv

      modnas-fast front runs/digits-001 --device cpu_t1_b1_fp32 --json
    """
    from modnas_fast.cli.records import as_csv
    from modnas_fast.cli.records import as_json as as_json_list
    from modnas_fast.result import Result
    from modnas_fast.runtime.files import write_text

    if csv and as_json:
        raise InputError("front: give either --csv or --json")
    result = Result.load(run.expanduser())
    try:
        names = list(result.devices) if device is None else [result.device(device).name]
    except InputError as error:
        raise InputError(f"--{error}") from None
    records = [
        point.to_record(name, result.quality, result.quality_kind) for name in names for point in result.front(name)
    ]
    text = as_json_list(records) if as_json else as_csv(records)
    if out is None:
        print(text, end="")
    else:
        write_text(out.expanduser(), text)
        print(out)
