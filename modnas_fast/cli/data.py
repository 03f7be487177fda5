"""The command line for benchmark data: data list, fetch, verify, convert."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modnas_fast.cli.measure_blocks import measure_blocks
from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:
    from modnas_fast.datasets.registry import DataSet

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
data_app.command("measure-blocks")(measure_blocks)


@data_app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False) -> None:
    """Show the data sets, and what of them the data folder holds (MODNAS_DATA, else this package's cache folder)."""
    from modnas_fast.datasets.home import data_home
    from modnas_fast.datasets.registry import datasets, groups

    home = data_home()
    known = list(datasets().values())
    if as_json:
        content = {"folder": str(home), "groups": groups(), "datasets": [_describe(data, home) for data in known]}
        return print(json.dumps(content, indent=1))
    _show(known, home)
    for name, members in groups().items():
        print(f"{name} stands for {', '.join(members)}.")
    print(f"Folder: {home}")


def _show(known: list[DataSet], home: Path) -> None:
    from modnas_fast.runtime.terminal_table import Column, FittedTable, show

    columns = [
        Column("name"),
        Column("what", rank=2, wraps=True),
        Column("files", rank=4, right=True),
        Column("MB", rank=1, right=True),
        Column("licence", rank=3, wraps=True),
        Column("state", wraps=True),
    ]
    rows = [
        [data.name, data.title, str(len(data.parts)), f"{data.size / 1e6:.1f}", data.licence, data.state(home)]
        for data in known
    ]
    show(FittedTable(columns, rows))


def _describe(data: DataSet, home: Path) -> dict[str, Any]:
    files = [{key: value for key, value in vars(file).items() if value != ""} for file in data.parts]
    about = {"name": data.name, "title": data.title, "licence": data.licence, "source": data.source}
    if data.product:
        about["product"] = data.product.path
    return {**about, "bytes": data.size, "state": data.state(home), "files": files}


@data_app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets or groups; see data list.")],
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the same relative paths lie: http(s)://, file:// or a folder."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Put the files here instead of the data folder.")
    ] = None,
) -> None:
    """Download data sets into the data folder, verified by checksum; what is there already stays.

    A transfer that broke off continues where it stopped.

    Examples:

      modnas-fast data fetch nb201

      modnas-fast data fetch nats-bench --to data/ --mirror http://intranet.example/modnas-data
    """
    from modnas_fast.datasets.fetch import fetch as fetch_all
    from modnas_fast.datasets.home import data_home
    from modnas_fast.datasets.registry import select
    from modnas_fast.runtime.progress import Terminal

    wanted, folder = select(names), to.expanduser() if to else data_home()
    fetch_all(wanted, folder, mirror=mirror, reporter=Terminal())
    for data in wanted:
        print(f"{data.name}: {folder / data.folder}")
    if to:
        print(f"To use them: export MODNAS_DATA={shlex.quote(str(folder.absolute()))}")


@data_app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Data sets or groups. Default: all that the data folder has."),
    ] = None,
) -> None:
    """Compare the data folder's files with the published checksums; exit status 1 where one is missing or wrong."""
    from modnas_fast.datasets.home import data_home
    from modnas_fast.datasets.registry import datasets, select

    home = data_home()
    chosen = select(names) if names else [data for data in datasets().values() if data.count(home)]
    if not chosen:
        raise InputError(f"data: {home} has no data set; fetch one with: modnas-fast data fetch nb201")
    wrong = False
    for data in chosen:
        faults = data.faults(home)
        for path, fault in faults.items():
            print(f"{home / path}: {fault}; mend it with: modnas-fast data fetch {data.name}", file=sys.stderr)
        if not faults and data.product:
            print(f"{data.name}: the table of {len(data.parts)} published files")
        elif not faults:
            print(f"{data.name}: {len(data.files)} of {len(data.files)} files as published")
        wrong = wrong or bool(faults)
    if wrong:
        raise typer.Exit(1)


@data_app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The official object: file, or folder of files.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The table: .csv or .parquet, of HW-GPT-Bench .npz. Default: named after FILE, here."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="HW-NAS-Bench: cifar10 (default), cifar100 or ImageNet16-120 as input. HW-GPT-Bench: scale s, m or l."
        ),
    ] = None,
) -> None:
    """Turn an official benchmark object into a plain table: NATS-Bench, NAS-Bench-201, HW-NAS-Bench or HW-GPT-Bench.

    Nothing in the file is run: what is not plain data is refused.

    Examples:

      modnas-fast data convert NATS-tss-v1_0-3ffb9-simple --out nats_bench.csv

      modnas-fast data convert HW-NAS-Bench-v1_0.pickle --dataset cifar100 --out costs.parquet

      modnas-fast data convert gpt/raw/ --dataset s --out hw_gpt_bench_s.npz
    """
    from modnas_fast.runtime.progress import Terminal
    from modnas_fast.spaces.convert import convert as convert_object

    print(convert_object(file.expanduser(), out and out.expanduser(), dataset=dataset, reporter=Terminal()))
