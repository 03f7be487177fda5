"""`reproduce` as a command: what it refuses, and once the quick reproduction on the real tables, as users run it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from made_up_tables import write_tables

from modnas_fast.report.reproduction.contents import read_reproduction
from modnas_fast.spaces.nb201.published import PAPER_SEARCH, PAPER_UNSEEN

needs_tables = pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name the tables")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("darts",), "reproduce: wanted one of nb201, gpt, hat, ofa, got 'darts'"),
        (("gpt", "--source", "supernet"), "--source: gpt is reproduced with surrogate, got 'supernet'"),
        (("gpt", "--scale", "m"), "--scale: wanted s or l, for gpt alone, got 'm'"),
        (("nb201", "--scale", "l"), "--scale: wanted s or l, for gpt alone, got 'l'"),
        (("nb201", "--source", "oracle"), "--source: nb201 is reproduced with surrogate or supernet, got 'oracle'"),
        (("nb201", "--data", "images"), "--data, --set: belong to --source supernet"),
        (("nb201", "--set", "seed=3"), "--data, --set: belong to --source supernet"),
        (("nb201", "--source", "supernet", "--set", "search.stepz=3"), "unknown key search.stepz"),
        (("nb201", "--source", "supernet", "--set", "nonsense"), "--set: wanted key=value"),
        (
            ("nb201", "--source", "supernet", "--set", "devices.table=null"),
            "devices.table: the reproduction takes costs",
        ),
        (("nb201",), "modnas-fast data fetch"),
        (("nb201", "--out", "other"), "--out: other holds a reproduction with seeds [7]"),
    ],
)
def test_bad_input_is_one_line(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], text: str
) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path / "nothing"))
    if "other" in options:
        monkeypatch.setenv("MODNAS_DATA", str(write_tables(tmp_path / "data", [*PAPER_SEARCH, *PAPER_UNSEEN])))
        (tmp_path / "other").mkdir()
        settings = {"source": "surrogate", "seeds": [7], "quick": False, "seconds": 1.0}
        (tmp_path / "other" / "settings.json").write_text(json.dumps(settings))
    ended = command("reproduce", *options)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1), ended.err
    assert text in ended.err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("options", [("nb201", "--seeds", "0"), ("nb201", "--jobs", "0"), ()])
def test_options_out_of_range(command: Any, options: tuple[str, ...]) -> None:
    ended = command("reproduce", *options)
    assert ended.code == 2 and "Traceback" not in ended.err
    assert (options[1] if options else "benchmark") in ended.err.lower()


def test_the_help_teaches(command: Any) -> None:
    ended = command("reproduce", "--help")
    assert ended.code == 0
    for text in ("modnas-fast reproduce nb201 --quick", "modnas-fast data fetch nb201", "--source", "supernet"):
        assert text in ended.out


@needs_tables
def test_the_quick_reproduction_of_the_real_tables(cli: Any) -> None:
    """Some minutes of processor time; on a busy machine much more of the clock."""
    folder = cli.folder / "reproduction"
    first = reproduce(cli, folder)
    content = json.loads((folder / "reproduction.json").read_text(encoding="utf-8"))
    assert read_reproduction(folder).quick and content["evaluations"] == 300
    exact = [device["exact_hypervolume"] for device in content["devices"]]
    assert len(exact) == 19 and sum(exact) / 19 == pytest.approx(0.9695, abs=5e-5)
    ratios = {method["name"]: mean_ratio(method) for method in content["methods"]}
    assert ratios["modnas"] > ratios["random"] and ratios["modnas"] > 0.95, ratios
    assert ratios["random"] == pytest.approx(0.962, abs=0.01), "as random search reaches it with 300 networks"
    assert all(run["measured"] <= 900 for method in content["methods"][:2] for run in method["runs"])
    page = (folder / "reproduction.html").read_text(encoding="utf-8")
    assert "MODNAS, default" in page and "MODNAS, default" in first and "reproduction.html" in first

    files = [*(folder / "trials").iterdir(), *(folder / "baselines" / "runs").iterdir()]
    kept = {file: file.stat().st_mtime_ns for file in files}
    assert len(kept) == 8 + 4 * 19
    reproduce(cli, folder)
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items()), "nothing is run twice"


def reproduce(cli: Any, folder: Path) -> str:
    process = cli.start("reproduce", "nb201", "--quick", "--jobs", "2", "--out", folder)
    try:
        out, err = process.communicate(timeout=3600)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


def mean_ratio(method: dict[str, Any]) -> float:
    ratios = [score["ratio"] for run in method["runs"] for score in run["devices"].values()]
    return sum(ratios) / len(ratios)


def test_a_page_that_fails_leaves_the_searches(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"devices": [], "methods": []}
    monkeypatch.setattr("modnas_fast.reproduction.run.reproduce_with_surrogate", lambda folder, **settings: content)
    ended = command("reproduce", "nb201", "--quick")
    assert ended.code == 1 and "hypervolume" in ended.out and "Page:" not in ended.out
    last = ended.err.splitlines()[-1]
    assert last.startswith("modnas-fast: no page: ") and "does not exist" in last and "the same command" in last


def test_ofa_is_reproduced_on_both_kinds_of_tables(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def pretend(folder: Path, **settings: Any) -> dict[str, Any]:
        asked.append((folder.name, settings["seeds"], settings["quick"]))
        return {"devices": [], "methods": []}

    monkeypatch.setattr("modnas_fast.reproduction.ofa.reproduce_ofa", pretend)
    monkeypatch.setattr("modnas_fast.reproduction.ofa.reproduce_blocks", pretend)
    monkeypatch.setattr("modnas_fast.report.write_reproduction", lambda folder: folder / "reproduction.html")
    ended = command("reproduce", "ofa", "--quick", "--out", str(tmp_path / "run"))
    assert ended.code == 0, ended.err
    assert asked == [("run", 3, True), ("blocks", 3, True)]
    pages = [line for line in ended.out.splitlines() if line.startswith("Page: ")]
    assert pages == [f"Page: {tmp_path / 'run' / part / 'reproduction.html'}" for part in ("", "blocks")]
