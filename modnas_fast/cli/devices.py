"""The command line for other devices: devices add."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

devices_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@devices_app.callback()
def _root() -> None:
    """Devices measured by a kit."""


@devices_app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the device shall be called.")],
    results: Annotated[Path, typer.Argument(help="File that measure.py of a kit wrote on the device.")],
    kit: Annotated[Path | None, typer.Option(help="Folder of the kit, to be sure that it is that one.")] = None,
    folder: Annotated[Path, typer.Option(help="Where the device's files are put.")] = Path("devices"),
) -> None:
    """Check what a kit's measure.py wrote, and make a device of it.

    With 30 networks or more for a search (devices.table), with the ten references for pick --embedding as well.

    Examples:

      modnas-fast devices add phone results.jsonl --kit phone-kit/
    """
    from modnas_fast.deployment.kit_results import add_device, read_results

    found = read_results(results, kit)
    written = add_device(name, found, folder)
    count = len(found.values["latency_ms"])
    print(f"{name}: {count} networks, {', '.join(found.values)}; kit {found.kit['id']}")
    print(f"noise {100 * found.noise:.1f} %, drift {100 * (found.drift - 1):+.1f} %, {found.disturbed} of "
          f"{found.rounds} rounds disturbed and left out")  # fmt: skip
    if found.missing:
        print(f"{len(found.missing)} networks have too few values and are left out; measure.py continues with them")
    print(f"Ask a run of the kit's space: modnas-fast pick RUN --embedding {shlex.quote(str(written['pick']))} …")
    if "search" in written:
        print(f"Search for it: modnas-fast search … --set devices.table={shlex.quote(str(written['search']))}")
    else:
        print("Too few networks for a search, which wants 30: measure without --references")
