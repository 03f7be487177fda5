"""`modnas-fast figures`: fronts and anytime curves of a finished folder as vector files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError


def figures(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished search, reproduce or baselines.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the files. Default: RUN/figures.")] = None,
    width: Annotated[
        float, typer.Option(metavar="INCHES", help="Width of a figure; 3.4 fits one column of two.")
    ] = 3.4,
) -> None:
    """Draw the fronts of every device and the anytime curves of a finished folder as SVG and PDF, for a paper.

    Text stays text, symbols differ where colours do, and the same folder gives the same bytes.

    Examples:

      modnas-fast figures runs/digits-001

      modnas-fast figures runs/reproduce-nb201 --out figures --width 7
    """
    from modnas_fast.report import write_figures

    try:
        written = write_figures(folder.expanduser(), None if out is None else out.expanduser(), width)
    except InputError as error:
        raise InputError(f"--{error}" if str(error).startswith("width:") else str(error)) from None
    for file in written:
        print(file)
