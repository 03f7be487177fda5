"""`modnas-fast report`: the page and the plots of a finished run once more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError, one_line


def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Rebuild report.html and the plots of a finished run, and answers.npz where the run lacks it."""
    from modnas_fast.report import write_report
    from modnas_fast.result.folder import RESULT_FILE
    from modnas_fast.runtime.lock import holder

    run = run.expanduser()
    process = holder(run)
    if process and not (run / RESULT_FILE).exists():
        raise InputError(f"report: {run} is not finished: {process} works on it")
    undrawn = _keep_drawings(run)
    page = write_report(run)
    if undrawn:
        print(f"modnas-fast: no drawings: {undrawn}", file=sys.stderr)
    _keep_answers(run)
    print(page)


def _keep_drawings(run: Path) -> str:
    """Lets the run's space draw its networks where nobody has; why it could not, in one line."""
    from modnas_fast.runs.drawings import keep_drawings

    try:
        keep_drawings(run)
    except InputError as error:  # the page shows their strings
        return one_line(error)
    return ""


def _keep_answers(run: Path) -> None:
    """Writes answers.npz where it is missing or belongs to another result.json."""
    from modnas_fast.result.answers_file import open_answers
    from modnas_fast.result.folder import ANSWERS_FILE, answered

    if open_answers(run / ANSWERS_FILE, answered(run)) is not None:
        return  # what writes them takes seconds to load
    from modnas_fast.result.compose_answers import keep_answers

    try:
        if keep_answers(run):
            print(run / ANSWERS_FILE)
    except InputError as error:  # the page stands all the same
        print(f"modnas-fast: no {ANSWERS_FILE}: {one_line(error)}", file=sys.stderr)
