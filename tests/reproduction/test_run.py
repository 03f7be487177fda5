"""A whole reproduction on made-up tables: its content by the entries, and that nothing is run twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modnas_fast.report.reproduction.contents import read_reproduction
from modnas_fast.reproduction import run as module
from modnas_fast.reproduction.plan import Plan, make_plan
from modnas_fast.reproduction.run import keep_settings, reproduce_with_surrogate
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.reproduction.trial import Group
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces.nb201.published import HELP

DEVICES = {"search": ("1080ti_1", "pixel3"), "unseen": ("raspi4",)}


@contextmanager
def inline(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """In this process: tests of workers stand elsewhere."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def small(tables: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick plan with tiny searches on three devices, two variants, two short baselines, one process."""

    def shrunk(group: Group) -> Group:
        devices = {} if group.table != HELP else DEVICES
        return replace(group, overrides=(*group.overrides, *tiny), variants=group.variants[:2], **devices)

    def small_plan(*arguments: Any) -> Plan:
        plan = make_plan(*arguments)
        parts = {n: tuple(map(shrunk, getattr(plan, n))) for n in ("main", "paper", "splits", "three")}
        transfer = {task: tuple(map(shrunk, groups)) for task, groups in plan.transfer.items()}
        factors = {"scalarization": dict([*plan.factors["scalarization"].items()][:2])}
        return replace(plan, **parts, transfer=transfer, factors=factors, baselines=("random", "evolution"))

    monkeypatch.setattr(module, "make_plan", small_plan)
    monkeypatch.setattr(module, "load_benchmark", partial(load_benchmark, **DEVICES))
    monkeypatch.setattr(module, "worker_pool", inline)
    monkeypatch.setattr(module, "BASELINE_EVALUATIONS", 30)


def reproduce(folder: Path, **changes: Any) -> dict[str, Any]:
    options = {"seeds": 1, "quick": True, "jobs": 1, "command": "modnas-fast reproduce", "reporter": Silent()}
    return reproduce_with_surrogate(folder, **{**options, **changes})


def times(folder: Path) -> dict[Path, int]:
    files = [*(folder / "trials").iterdir(), *(folder / "baselines" / "runs").iterdir()]
    return {file: file.stat().st_mtime_ns for file in files}


def test_a_reproduction_is_composed_of_its_entries_and_continued(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = reproduce(tmp_path)
    read = read_reproduction(tmp_path)
    assert (read.names("search"), read.names("unseen")) == (["1080ti_1", "pixel3"], ["raspi4"])
    assert read.quick and read.evaluations == 8
    check_methods(content, tmp_path)
    check_parts(content, tmp_path)

    before = times(tmp_path)
    assert len(before) == 2 + 1 + 1 + 1 + 1 + 2 * 3
    monkeypatch.setattr(module, "worker_pool", None)  # no search is left, so none is started
    again = reproduce(tmp_path)
    assert times(tmp_path) == before
    assert again["seconds"] > content["seconds"], "seconds add up over the commands"
    assert {**again, "seconds": 0} == {**content, "seconds": 0}
    assert read_json(tmp_path / "reproduction.json") == again

    with pytest.raises(InputError, match="holds a reproduction with seeds .0., quick True; give another folder"):
        reproduce(tmp_path, quick=False, seeds=2)
    assert times(tmp_path) == before


def check_methods(content: dict[str, Any], folder: Path) -> None:
    methods = {method["name"]: method for method in content["methods"]}
    assert list(methods) == [
        "modnas",
        "modnas-all",
        "paper",
        "shared-random",
        "shared-evolution",
        "shared-gp",
        "random",
        "evolution",
    ]
    default = read_json(folder / "trials" / "main-0+default.json")
    (whole,) = methods["modnas-all"]["runs"]
    for name, score in whole["devices"].items():
        assert score["hypervolume"] >= default["devices"][name]["hypervolume"], "answers to preferences are among them"
    assert whole["evaluations"] == default["evaluations"]
    assert any(note.startswith("Shared searches ask for as many") for note in content["notes"])
    for name in ("shared-random", "shared-evolution", "shared-gp"):
        (run,) = methods[name]["runs"]
        assert run["evaluations"] == content["evaluations"] and set(run["devices"]) == set(default["devices"])
        assert run["curve"][-1]["evaluations"] == run["evaluations"]
    assert methods["modnas"]["runs"] == [default] and content["predictor"] == default["predictor"]
    assert methods["paper"]["runs"] == [read_json(folder / "trials" / "paper-0+default.json")]
    (run,) = methods["random"]["runs"]
    files = {file.name: read_json(file) for file in (folder / "baselines" / "runs").glob("random+*.json")}
    assert run["evaluations"] == 3 * 30 and len(files) == len(run["devices"]) == 3
    for entry in files.values():
        score = run["devices"][entry["device"]]
        assert {key: score[key] for key in entry["score"]} == entry["score"]
        assert len(score["front"]) == entry["score"]["networks"]
    splits = {device["name"]: device["split"] for device in content["devices"]}
    assert [point["evaluations"] for point in run["curve"]] == [3 * 24, 3 * 30]
    for split in ("search", "unseen"):
        last = [entry["curve"][-1][1] for entry in files.values() if splits[entry["device"]] == split]
        assert run["curve"][-1]["ratio"][split] == pytest.approx(sum(last) / len(last))


def check_parts(content: dict[str, Any], folder: Path) -> None:
    linear = read_json(folder / "trials" / "main-0+scalarization-linear.json")
    default, other = content["ablations"]
    assert (default["factor"], default["value"], default["default"]) == ("scalarization", "smooth Chebyshev", True)
    assert (other["value"], other["default"], other["runs"][0]["ratio"]) == ("linear", False, linear["ratio"])
    assert other["runs"][0]["seconds"] == linear["search_seconds"]
    assert [part["task"] for part in content["transfer"]] == ["cifar100"]
    (split,) = content["splits"]
    assert set(split["runs"][0]["devices"]) == set(split["search"]) | set(split["unseen"])
    three = content["three_objectives"]
    assert three["objectives"] == ["error", "latency", "energy"] and three["devices"] == ["pi5_litert", "pi5_onnx"]
    assert set(three["exact_hypervolume"]) == set(three["exact_front"]) == set(three["runs"][0]["devices"])
    for device in content["devices"]:
        errors, latencies = zip(*device["exact_front"])
        assert errors[0] == 0 and latencies[-1] == 0 and 0 < device["exact_hypervolume"] < 1
        assert device["quality_range"][1] < 89.9 and 0 < device["cost_range"][0] < device["cost_range"][1]


# ---- settings of a folder ----

WANTED = {"source": "supernet", "configuration": {"seed": 0, "search": {"steps": 10, "betas": [0.5, 0.9]}}}


def test_settings_are_kept_with_the_seconds(tmp_path: Path) -> None:
    assert keep_settings(tmp_path / "new", WANTED) == {**WANTED, "seconds": 0.0}
    write_json(tmp_path / "new" / "settings.json", {**WANTED, "seconds": 3.5})
    assert keep_settings(tmp_path / "new", WANTED)["seconds"] == 3.5


def test_other_settings_are_refused_by_what_differs(tmp_path: Path) -> None:
    keep_settings(tmp_path, WANTED)
    other = {"source": "supernet", "configuration": {"seed": 0, "search": {"steps": 20, "betas": [0.5, 0.9]}}}
    with pytest.raises(InputError, match="holds a reproduction with configuration.search.steps 10; give another"):
        keep_settings(tmp_path, other)
    with pytest.raises(InputError, match="source supernet") as caught:
        keep_settings(tmp_path, {"source": "surrogate", "seeds": [0], "quick": False})
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert read_json(tmp_path / "settings.json") == {**WANTED, "seconds": 0.0}


@pytest.mark.parametrize("text", ["{", "[]", "3", "{}", "\u00ff{"])
def test_damaged_settings_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="settings.json is damaged; delete it"):
        keep_settings(tmp_path, WANTED)
