"""The command line: search, pick, front, tables, export, kit, devices, report, reproduce, baselines, bench, data, …"""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated

import typer

from modnas_fast.cli.baselines import baselines
from modnas_fast.cli.bench import add_to as add_bench_to
from modnas_fast.cli.data import data_app
from modnas_fast.cli.devices import devices_app
from modnas_fast.cli.doctor import doctor
from modnas_fast.cli.export import export
from modnas_fast.cli.figures import figures
from modnas_fast.cli.front import front
from modnas_fast.cli.kit import kit
from modnas_fast.cli.pick import pick
from modnas_fast.cli.report import report
from modnas_fast.cli.reproduce import reproduce
from modnas_fast.cli.search import search
from modnas_fast.cli.tables import tables
from modnas_fast.runtime.errors import InputError

app = typer.Typer(
    name="modnas-fast",
    help="One search, many devices: the Pareto set of networks for each (MODNAS).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data", help="Benchmark data: list, fetch, verify, convert.")
app.add_typer(devices_app, name="devices", help="Devices measured by a kit: add.")
for command in (search, pick, front, tables, figures, export, kit, report, baselines, reproduce):
    app.command()(command)
add_bench_to(app)
app.command()(doctor)


def main() -> None:
    """Runs the command line; bad input ends with a line for each fault and exit status 2."""
    from modnas_fast.runtime.stopping import Stopped

    sys.path.append(os.getcwd())  # last: package.module:object may lie beside the data, and hides nothing
    try:
        app(prog_name="modnas-fast")
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}")
    except Stopped as stop:
        sys.exit(128 + stop.signal_number)


def _fail(message: str) -> None:
    rank = os.environ.get("RANK", "0")
    who = "modnas-fast" if rank == "0" else f"modnas-fast, rank {rank} on {platform.node()}"
    for line in message.splitlines():
        print(f"{who}: {line}", file=sys.stderr)
    sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from modnas_fast import __version__

        print(f"modnas-fast {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
