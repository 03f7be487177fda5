"""Trials: entries that can be checked against the tables, and that are not run twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.report.reproduction.contents import PredictorQuality, Run
from modnas_fast.reproduction.trial import Group, Variant, entries, missing, run_group
from modnas_fast.runtime.files import read_json

DEVICES = {"search": ("fpga", "pixel3"), "unseen": ("raspi4",)}
VARIANTS = (Variant("default"), Variant("mean", ("mgd.scheme=mean",)))


def group(overrides: tuple[str, ...], **changes: Any) -> Group:
    return Group("main-0", 0, VARIANTS, overrides=overrides, **{**DEVICES, **changes})


def timeless(entry: Any) -> Any:
    """Without seconds, wherever they stand."""
    if isinstance(entry, dict):
        return {k: timeless(v) for k, v in entry.items() if "seconds" not in k and k != "stages"}
    return [timeless(part) for part in entry] if isinstance(entry, list) else entry


@pytest.fixture
def done(tables: Path, tiny: tuple[str, ...], tmp_path: Path) -> tuple[Group, Path]:
    made = group(tiny)
    assert missing(made, tmp_path) == list(VARIANTS)
    assert run_group(made, tmp_path) == "main-0"
    return made, tmp_path


def check_devices(entry: dict[str, Any], benchmark: Benchmark) -> None:
    for name, score in entry["devices"].items():
        table = benchmark.fronts[name]
        rows = [int(abs(table.values - point).sum(1).argmin()) for point in score["front"]]
        found = table.score(rows).to_dict()
        assert {key: score[key] for key in found} == pytest.approx(found), "the front told is what was scored"
        assert [point[0] for point in score["front"]] == sorted(point[0] for point in score["front"])


def test_entries_tell_what_was_found_and_what_it_cost(done: tuple[Group, Path]) -> None:
    made, folder = done
    found, benchmark = entries(made, folder), made.benchmark()
    assert list(found) == ["default", "mean"]
    for entry in found.values():
        Run.model_validate(entry)
        check_devices(entry, benchmark)
        ratios = {name: score["ratio"] for name, score in entry["devices"].items()}
        assert entry["ratio"] == {"search": (ratios["fpga"] + ratios["pixel3"]) / 2, "unseen": ratios["raspi4"]}
        assert (entry["seed"], entry["evaluations"]) == (0, 8) and 31 <= entry["measured"] <= 40
        assert entry["seconds"] == pytest.approx(sum(entry["stages"].values()) + entry["search_seconds"])
        assert -1 <= entry["gradient_cosine"] <= 1 and entry["weights_spread"] >= 0
    assert found["mean"]["weights_spread"] == 0, "the mean weighs devices alike"


def test_the_first_entry_tells_how_good_the_predictor_is(done: tuple[Group, Path]) -> None:
    first, second = entries(*done).values()
    assert "predictor" not in second
    PredictorQuality.model_validate(first["predictor"])
    devices = first["predictor"]["devices"]
    assert {name: quality["split"] for name, quality in devices.items()} == {
        "fpga": "search", "pixel3": "search", "raspi4": "unseen",
    }  # fmt: skip
    assert [quality["adapted"] is not None for quality in devices.values()] == [False, False, True]
    assert all(-1 <= quality["kendall"] <= 1 and quality["relative_error"] > 0 for quality in devices.values())


def test_what_is_there_is_not_run_again(done: tuple[Group, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made, folder = done
    before = {file: file.read_text() for file in folder.iterdir()}
    (folder / made.file(VARIANTS[1])).unlink()
    os.utime(folder / made.file(VARIANTS[0]), ns=(1, 1))
    assert missing(made, folder) == [VARIANTS[1]]
    run_group(made, folder)
    assert (folder / made.file(VARIANTS[0])).stat().st_mtime_ns == 1
    again = {file: read_json(file) for file in folder.iterdir()}
    assert again.keys() == before.keys()
    assert timeless(entries(made, folder)["mean"]) == timeless(json.loads(before[folder / made.file(VARIANTS[1])]))
    monkeypatch.setattr("modnas_fast.reproduction.trial.load_benchmark", None)
    run_group(made, folder)  # nothing is left, so nothing is loaded


def test_three_objectives_have_fronts_of_triples(tables: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    overrides, metrics = (*tiny, "predictor.kind=plain_graph"), ("latency", "energy")
    made = Group("three-0", 0, VARIANTS[:1], overrides=overrides, table="hw-nas-bench-360", metrics=metrics)
    run_group(made, tmp_path)
    (entry,) = entries(made, tmp_path).values()
    assert list(entry["devices"]) == ["pi5_litert", "pi5_onnx"] and entry["ratio"]["unseen"] is None
    assert all(len(point) == 3 for score in entry["devices"].values() for point in score["front"])
    check_devices(entry, made.benchmark())
    assert all(quality["adapted"] is None for quality in entry["predictor"]["devices"].values())
