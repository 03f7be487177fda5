"""Tidy tables: one record per fact, the numbers of the folder's files, columns as docs/tables.md has them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from docs.surroundings import write_run
from made_up_tables import make_benchmark
from report.make_reproduction import make_reproduction, write_reproduction_json
from report.make_run import SEARCH, UNSEEN, make_history

from modnas_fast.baselines.contest import Contest
from modnas_fast.result import Result, tables_of
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_json

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
Tables = dict[str, list[dict[str, Any]]]


def documented(section: str) -> dict[str, str]:
    """What the page says of the columns of each table of a section."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    return dict(re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", text, re.M))


def assert_documented(tables: Tables, section: str, keys: tuple[str, ...]) -> None:
    words = documented(section)
    assert set(tables) == set(words)
    for name, records in tables.items():
        if name in ("networks", "fronts") and section == "Of a search":  # described by reference
            continue
        for column in records[0]:
            for key in keys:
                column = re.sub(rf"^{key}(_share)?$", r"KEY\1", column)
            wanted = f"{column} " if column == "KEY" else f"`{column}`"
            assert wanted in words[name], (name, column)
        assert all(list(record) == list(records[0]) for record in records), name


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that answers questions, of one device, with a made-up history."""
    folder = tmp_path_factory.mktemp("tables") / "run"
    write_run(folder)
    name = json.loads((folder / "result.json").read_text())["devices"][0]["name"]
    history = make_history((name,), ())
    history["refinement"] = [{"step": 1200, "mgd_weights": [1.0], "gradient_cosine": None}]
    write_json(folder / "history.json", history)
    write_json(folder / "curve.json", {"step": [0, 100], "seconds": [1.5, 2.5]})
    return folder


def test_a_run_s_tables_hold_its_numbers(run: Path) -> None:
    tables, result = tables_of(run), Result.load(run)
    history = json.loads((run / "history.json").read_text())
    assert tables["networks"] == result.to_records()
    assert len(tables["history"]) == 240 + 1 and tables["history"][-1]["phase"] == "refinement"
    third = tables["history"][2]
    assert third == {
        "phase": "search", "step": 10, "device": "cpu_t1_b1_fp32", "split": "search",
        "task_loss": history["task_loss"][2][0], "latency_ms_share": history["costs"]["latency_ms"][2][0],
        "mgd_weight": history["mgd_weights"][2][0],
    }  # fmt: skip
    assert tables["steps"][2]["learning_rate_w"] == history["learning_rate_w"][2]
    assert [record["seconds"] for record in tables["anytime"]][:3] == [1.5, 2.5, None], "nobody kept the third"
    assert [record["hypervolume"] for record in tables["anytime"]] == [
        row[0] for row in history["hypervolume"]["values"]
    ]
    assert all(record["ratio"] is None for record in tables["anytime"]), "nobody knows the exact front"


def test_columns_of_a_run_are_documented(run: Path) -> None:
    assert_documented(tables_of(run), "Of a search", ("latency_ms",))


def test_tables_of_a_reproduction(tmp_path: Path) -> None:
    content = make_reproduction(SEARCH[:2], UNSEEN[:1], seeds=2)
    tables = tables_of(write_reproduction_json(tmp_path, content))
    assert_documented(tables, "Of a reproduction", ("error", "latency_ms"))
    methods, devices = len(content["methods"]), 3
    assert len(tables["scores"]) == methods * 2 * devices
    device = content["devices"][0]
    first = content["methods"][0]["runs"][1]["devices"][device["name"]]
    found = [r for r in tables["fronts"] if (r["method"], r["seed"], r["device"]) == ("modnas", 1, device["name"])]
    assert [(r["error_share"], r["latency_ms_share"]) for r in found] == sorted(map(tuple, first["front"]))
    low, high = device["cost_range"]
    assert found[0]["latency_ms"] == pytest.approx(low + found[0]["latency_ms_share"] * (high - low))
    last = [r for r in tables["anytime_mean"] if r["method"] == "modnas" and r["axis"] == "evaluations"][-1]
    ends = [run["curve"][-1]["ratio"][last["split"]] for run in content["methods"][0]["runs"]]
    assert (last["x"], last["seeds"], last["ratio_low"], last["ratio_high"]) == (300, 2, min(ends), max(ends))
    assert last["ratio_mean"] == pytest.approx(sum(ends) / 2)


def test_tables_of_baselines_and_what_runs_of_before_lack(tmp_path: Path) -> None:
    contest = Contest(make_benchmark().known_space(), 60, tmp_path)
    contest.execute(["random", "local-search"], ["device 0"], 2)
    entries = contest.entries()
    write_json(tmp_path / "baselines.json", {**contest.settings, "methods": {}, "runs": entries})
    tables = tables_of(tmp_path)
    assert_documented(tables, "Of baselines", ())
    assert len(tables["scores"]) == 4 and len(tables["anytime"]) == 4 * 3
    mine = [r for r in tables["anytime_mean"] if r["method"] == "random" and r["axis"] == "evaluations"]
    curves = [dict(entry["curve"]) for entry in entries if entry["method"] == "random"]
    assert [(r["x"], r["seeds"]) for r in mine] == [(24, 2), (50, 2), (60, 2)]
    for record in mine:
        at = [curve[record["x"]] for curve in curves]
        assert (record["ratio_low"], record["ratio_high"]) == (min(at), max(at))
    before = [{key: value for key, value in entry.items() if key != "curve_seconds"} for entry in entries]
    write_json(tmp_path / "baselines.json", {**contest.settings, "runs": before})
    old = tables_of(tmp_path)
    assert all(record["seconds"] is None for record in old["anytime"])
    assert {record["axis"] for record in old["anytime_mean"]} == {"evaluations"}


def test_a_folder_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has none of result.json, reproduction.json and baselines.json: give the"):
        tables_of(tmp_path)


def test_data_frames_are_the_same_tables(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: no part of the package needs it")
    frames = Result.load(run).to_dataframes()
    assert {name: len(frame) for name, frame in frames.items()} == {n: len(r) for n, r in tables_of(run).items()}
    assert isinstance(frames["history"], pandas.DataFrame)
