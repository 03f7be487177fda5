"""`modnas-fast doctor`: what runs here and why."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False) -> None:
    """Tell versions, which implementation serves each operation and why, and how to mend what is missing."""
    from modnas_fast.cli.diagnosis import diagnose, render
    from modnas_fast.runtime.terminal_table import show

    diagnosis = diagnose()
    if as_json:
        print(json.dumps(diagnosis.to_dict(), indent=1))
    else:
        show(render(diagnosis))
