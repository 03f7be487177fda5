"""`modnas-fast tables` and `figures`: what they write, and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from docs.surroundings import write_run
from report.make_run import make_history

from modnas_fast.result import tables_of
from modnas_fast.runtime.files import write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one device with a made-up history."""
    folder = tmp_path_factory.mktemp("tables") / "run"
    write_run(folder)
    write_json(folder / "history.json", make_history(("cpu_t1_b1_fp32",), ()))
    write_json(folder / "curve.json", {"step": [0, 100], "seconds": [1.5, 2.5]})
    return folder


def test_the_command_writes_both_formats_alike(command: Any, made: Path, tmp_path: Path) -> None:
    ended = command("tables", made, "--out", tmp_path / "out")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        str(tmp_path / "out" / f"{n}.{s}") for n in tables_of(made) for s in ("csv", "parquet")
    ]
    with (tmp_path / "out" / "anytime.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "out" / "anytime.parquet").to_pylist()
    assert table == tables_of(made)["anytime"]
    assert [row["seconds"] for row in rows][:3] == ["1.5", "2.5", ""] and len(rows) == len(table)
    assert not list((tmp_path / "out").glob(".*"))


def test_another_format_is_refused(command: Any, made: Path) -> None:
    ended = command("tables", made, "--formats", "csv,xlsx")
    assert ended.code == 2 and "--formats: wanted csv, parquet or csv,parquet, got 'csv,xlsx'" in ended.err


def test_figures_are_written_and_a_wrong_width_is_named(command: Any, made: Path, tmp_path: Path) -> None:
    ended = command("figures", made, "--out", tmp_path / "out", "--width", "1")
    assert ended.code == 2 and ended.err == "modnas-fast: --width: wanted 2 to 12 inches, got 1\n"
    ended = command("figures", made, "--out", tmp_path / "out")
    assert (ended.code, ended.err) == (0, "")
    assert {Path(line).name for line in ended.out.splitlines()} == {path.name for path in (tmp_path / "out").iterdir()}
