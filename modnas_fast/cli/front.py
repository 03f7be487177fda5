"""`modnas-fast front`: the fronts of a finished run as a table for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError


def front(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    device: Annotated[str | None, typer.Option(help="One device of the run. Default: all of them.")] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=FROM:TO",
            help="Networks of a region alone, such as latency_ms=3:8 or latency_ms=:8. Repeatable.",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="K networks per device, far from each other. Default: all.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV with a header, the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of records with the same keys.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file instead of printing.")] = None,
) -> None:
    """Print the fronts of a finished run's devices: a row per network with its values and where they come from.

    Examples:

      modnas-fast front runs/digits-001 --csv --out fronts.csv

      modnas-fast front runs/digits-001 --device cpu_t1_b1_fp32 --json

      modnas-fast front runs/digits-001 --device cpu_t1_b1_fp32 --within latency_ms=0.3:0.8 --count 5
    """
    from modnas_fast.cli.budgets import intervals_of
    from modnas_fast.cli.records import as_csv
    from modnas_fast.cli.records import as_json as as_json_list
    from modnas_fast.result import Result
    from modnas_fast.runtime.files import write_text

    if csv and as_json:
        raise InputError("front: give either --csv or --json")
    result, region = Result.load(run.expanduser()), intervals_of(within)
    try:
        names = list(result.devices) if device is None else [result.device(device).name]
        records = [
            point.to_record(name, result.quality, result.quality_kind)
            for name in names
            for point in result.front(name, within=region, count=count)
        ]
    except InputError as error:
        raise InputError(f"--{error}") from None
    text = as_json_list(records) if as_json else as_csv(records)
    if out is None:
        print(text, end="")
    else:
        write_text(out.expanduser(), text)
        print(out)
