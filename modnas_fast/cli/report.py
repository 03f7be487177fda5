"""`modnas-fast report`: the page and the plots of a finished run once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError


def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Rebuild report.html and the plots of a finished run."""
    from modnas_fast.report import write_report
    from modnas_fast.result.folder import RESULT_FILE
    from modnas_fast.runtime.lock import holder

    run = run.expanduser()
    process = holder(run)
    if process and not (run / RESULT_FILE).exists():
        raise InputError(f"report: {run} is not finished: {process} works on it")
    print(write_report(run))
