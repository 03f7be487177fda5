"""A search on the real tables as a process: killed, stopped, resumed, asked; and options that do not fit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from report.browser import drawn, needs_browser, watch
from table_runs import table_overrides

from modnas_fast.spaces import NB201Space

needs_tables = pytest.mark.skipif(
    "MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name the benchmark's tables"
)
FILES = {
    "config.yaml", "measurements.json", "metapredictor.safetensors", "checkpoint.pt", "hypernetwork.safetensors",
    "history.json", "curve.json", "evaluation.json", "predictor.json", "table.parquet", "result.json", "report.html",
    "answers.npz", "drawings.json",
}  # fmt: skip
STEPS = 40


def options(**changes: Any) -> list[str]:
    return ["--preset", "nb201", *(part for value in table_overrides(**changes) for part in ("--set", value))]


@pytest.fixture(scope="module")
def whole(cli: Any) -> tuple[Path, Any]:
    """A finished run on tables, only to be read, and what its command printed."""
    ended = cli.here("search", "--out", "tables", *options())
    assert ended.code == 0, ended.err
    return cli.folder / "tables", ended


@needs_tables
def test_the_folder_and_the_terminal(whole: tuple[Path, Any]) -> None:
    run, ended = whole
    assert {path.name for path in run.iterdir()} == FILES
    assert "by true error and tabulated latency" in " ".join(ended.out.split())
    assert all(name in ended.out for name in ("pixel3", "gold_6240", "fpga", "of exact"))
    assert ended.out.rstrip().endswith("Report: tables/report.html")
    assert "Measuring this machine" not in ended.err and "Loading images" not in ended.err


@needs_tables
def test_killed_stopped_and_resumed_it_ends_as_if_unbroken(cli: Any, command: Any, whole: tuple[Path, Any]) -> None:
    broken = cli.folder / "broken"
    ended = cli.interrupt(signal.SIGKILL, broken, 4, "--out", "broken", *options())
    first = cli.steps(broken)
    assert ended.code == -signal.SIGKILL and 4 < first < STEPS
    ended = cli.interrupt(signal.SIGTERM, broken, first, "--resume", "broken")
    assert ended.code == 128 + signal.SIGTERM
    assert f"Continuing at step {first} of {STEPS}" in ended.err and "Training the metapredictor" not in ended.err
    assert ended.err.splitlines()[-1] == "Stopped. Continue with: modnas-fast search --resume broken"
    assert first < cli.steps(broken) < STEPS and not (broken / "result.json").exists()

    assert command("search", "--resume", broken).code == 0
    assert cli.result("broken") == cli.result("tables")
    for file in ("history.json", "predictor.json", "hypernetwork.safetensors"):
        assert (broken / file).read_bytes() == (whole[0] / file).read_bytes(), file


@needs_tables
def test_picks_say_what_they_rest_on(command: Any, whole: tuple[Path, Any], tmp_path: Path) -> None:
    run, _ = whole
    known = command("pick", run, "--device", "pixel3", "--preference", "1,0").out.splitlines()
    assert [line[:21].rstrip() for line in known[1:]] == ["device", "latency (table)", "true error"]
    latency = json.loads((run / "result.json").read_text(encoding="utf-8"))["devices"][0]["rays"][0]["latency_ms"]
    assert known[2].endswith(f"{latency:.4g} ms")
    (tmp_path / "phone.txt").write_text(" ".join(map(str, (9, 12, 5, 11, 16, 14, 18, 31, 10, 40))))
    asked = ("--embedding", "phone.txt", "--max", "latency_ms=20")
    new = command("pick", run, *asked).out.splitlines()
    assert [line[:21].rstrip() for line in new[1:]] == ["device", "predicted latency", "true error"]
    answer = json.loads(command("pick", run, *asked, "--json").out)
    assert answer["latency_ms"] <= 20 and NB201Space().parse(answer["architecture"])


@needs_tables
@needs_browser
def test_the_page_in_a_browser(whole: tuple[Path, Any], tmp_path: Path) -> None:
    document, troubles, _ = watch(whole[0] / "report.html", tmp_path)
    assert troubles == [] and drawn(document) >= 6


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--set", "task.source=surrogate"), ("task.source", "task.table", "--preset nb201")),
        (("--preset", "nb201", "--data", "photos"), ("task.data", "--data", "nb201-supernet")),
        (("--preset", "nb201", "--remeasure"), ("--remeasure", "devices.table")),
        (("--preset", "nb201", "--verify", "3"), ("--verify", "cifar10", "task.table")),
        (("--set", "devices.search=[pixel3]"), ("devices.search", "devices.table")),
        (("--set", "devices.metrics=[energy]"), ("devices.metrics", "objectives=[error,latency]")),
        (("--preset", "nb201", "--set", "predictor.kind=tree"), ("predictor.kind", "'additive'")),
        (("--preset", "nb201", "--set", "task.queries=3"), ("task.queries",)),
    ],
)
def test_options_that_do_not_fit(
    command: Any, tmp_path: Path, arguments: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    ended = command("search", *arguments)
    assert ended.code == 2 and ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("modnas-fast: ") and all(text in line for text in texts), line
    assert list(tmp_path.iterdir()) == []


def test_absent_tables_are_named_and_leave_no_folder(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path / "nothing"))
    ended = command("search", "--preset", "nb201", "--out", "run")
    assert ended.code == 2 and "modnas-fast data fetch" in ended.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_ones_own_is_kept_by_its_whole_path(command: Any, tmp_path: Path) -> None:
    ended = command("search", "--preset", "nb201", "--set", "devices.table=my-devices.csv", "--show-config")
    assert f"table: {tmp_path / 'my-devices.csv'}" in ended.out
    assert "table: help" in command("search", "--preset", "nb201", "--show-config").out
