"""Tidy tables of a finished folder: of a run, of a reproduction, or of black-box searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modnas_fast.report.reproduction.contents import FILE as REPRODUCTION_FILE
from modnas_fast.report.tables.of_contest import FILE as CONTEST_FILE
from modnas_fast.report.tables.of_contest import contest_tables
from modnas_fast.report.tables.of_reproduction import reproduction_tables
from modnas_fast.report.tables.of_run import run_tables
from modnas_fast.result.folder import CONFIG_FILE, RESULT_FILE
from modnas_fast.result.result import Result
from modnas_fast.runtime.errors import InputError

Tables = dict[str, list[dict[str, Any]]]


def tables_of(folder: Path | str) -> Tables:
    """Records by name of their table, of whatever stands in the folder; docs/tables.md describes their columns.

    Numbers are those of the folder's files: what a run did not keep is None, and a table without records is left out.
    Raises InputError where the folder holds nothing finished, or a damaged file.
    """
    folder = Path(folder)
    if (folder / RESULT_FILE).exists() or (folder / CONFIG_FILE).exists():
        tables = _tables_of_result(Result.load(folder))
    elif (folder / REPRODUCTION_FILE).exists():
        tables = reproduction_tables(folder)
    elif (folder / CONTEST_FILE).exists():
        tables = contest_tables(folder)
    else:
        files = f"{RESULT_FILE}, {REPRODUCTION_FILE} and {CONTEST_FILE}"
        raise InputError(f"{folder} has none of {files}: give the folder of a finished search, reproduce or baselines")
    return {name: records for name, records in tables.items() if records}


def _tables_of_result(result: Result) -> Tables:
    fronts = [
        point.to_record(name, result.quality, result.quality_kind)
        for name in result.devices
        for point in result.front(name)
    ]
    return {"networks": result.to_records(), "fronts": fronts, **run_tables(result.run)}
