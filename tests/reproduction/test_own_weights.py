"""Reproductions whose supernets are trained here: runs, rivals on the same weights, one file, nothing run twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pictures import fill

from modnas_fast.report import write_reproduction
from modnas_fast.report.reproduction.contents import read_reproduction
from modnas_fast.reproduction.own_weights import reproduce_on_own_weights
from modnas_fast.reproduction.own_weights_plans import OWN_WEIGHTS, hat_pairs
from modnas_fast.result import Result
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.progress import Silent
from modnas_fast.runtime.stopping import Stopper

#: what is measured here, and what has a formula alone
FEW = {
    "ofa": ("devices.unseen=[cpu_t1_b32_fp32]", "devices.formats=[float32]"),
    "hat": ("objectives=[loss,flops]", "devices.unseen=auto"),
}


def write_photos(folder: Path) -> Path:
    for seed, name in enumerate(("cat", "dog")):
        fill(folder / name, 24, size=(48, 40), seed=100 * seed)
    return folder


def write_pairs(folder: Path) -> Path:
    folder.mkdir()
    for part, count in (("train", 60), ("val", 12), ("test", 12)):
        numbers = range(count)
        (folder / f"{part}.en").write_text("\n".join(f"{n} of {n % 7}" for n in numbers), encoding="utf-8")
        (folder / f"{part}.de").write_text("\n".join(f"{n % 7} von {n}" for n in numbers), encoding="utf-8")
    return folder


MADE = {"ofa": write_photos, "hat": write_pairs}


def reproduce(name: str, folder: Path, data: Path, **changes: Any) -> dict[str, Any]:
    options = {"overrides": FEW[name], "seeds": 1, "quick": True, "command": "modnas-fast reproduce"}
    found: dict[str, Any] = reproduce_on_own_weights(
        OWN_WEIGHTS[name], folder, data=data, reporter=Silent(), stopper=Stopper(), **{**options, **changes}
    )
    return found


@pytest.fixture(scope="module", params=OWN_WEIGHTS)
def reproduced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Which, the folder of its reproduction, and its data."""
    base = tmp_path_factory.mktemp(request.param)
    data = MADE[request.param](base / "data")
    reproduce(request.param, base / "reproduction", data)
    return request.param, base / "reproduction", data


def test_every_method_had_as_many_networks_and_none_beats_all_together(reproduced: tuple[str, Path, Path]) -> None:
    content = read_json(reproduced[1] / "reproduction.json")
    assert [method["name"] for method in content["methods"]] == ["modnas", "random", "evolution", "gp"]
    run = Result.load(reproduced[1] / "searches" / "default-0")
    assert content["evaluations"] == run.content["baselines"]["networks"] >= 24
    for device in content["devices"]:
        scores = [run["devices"][device["name"]] for method in content["methods"] for run in method["runs"]]
        assert all(0 <= score["ratio"] <= 1 + 1e-9 for score in scores)
        assert max(score["ratio"] for score in scores) > 0
        merged = {tuple(point) for score in scores for point in score["front"]}
        assert {tuple(point) for point in device["exact_front"]} <= merged


def test_ours_is_what_the_run_tells(reproduced: tuple[str, Path, Path]) -> None:
    (ours,) = read_json(reproduced[1] / "reproduction.json")["methods"][0]["runs"]
    for entry in Result.load(reproduced[1] / "searches" / "default-0").content["devices"]:
        score = ours["devices"][entry["name"]]
        assert score["hypervolume"] == pytest.approx(entry["hypervolume_front"])
        assert score["networks"] == entry["front_networks"]


def test_variants_stand_beside_the_default(reproduced: tuple[str, Path, Path]) -> None:
    name, folder, _ = reproduced
    wanted = {(factor, value) for factor, values in OWN_WEIGHTS[name].factors.items() for value in values}
    content = read_json(folder / "reproduction.json")
    assert {(entry["factor"], entry["value"]) for entry in content["ablations"]} == wanted
    assert {path.name for path in (folder / "searches").iterdir()} == {
        "default-0",
        *(f"{variant.name}-0" for variant in OWN_WEIGHTS[name].variants),
    }


def test_notes_tell_what_networks_trained_from_scratch_reach(reproduced: tuple[str, Path, Path]) -> None:
    notes = " ".join(read_json(reproduced[1] / "reproduction.json")["notes"])
    run = Result.load(reproduced[1] / "searches" / "default-0")
    for entry in run.content["verified"]:
        assert f"{entry['architecture']}, trained from scratch" in notes and f"{entry['test']:.2f}" in notes


def test_the_page_is_made_of_it(reproduced: tuple[str, Path, Path]) -> None:
    assert read_reproduction(reproduced[1]).source == "supernet"
    page = write_reproduction(reproduced[1]).read_text(encoding="utf-8")
    assert "Regularised evolution" in page and "trained here" in page


def test_again_it_runs_nothing_and_says_the_same(reproduced: tuple[str, Path, Path]) -> None:
    name, folder, data = reproduced
    times = {file: file.stat().st_mtime_ns for file in folder.glob("searches/*/result.json")}
    before = read_json(folder / "reproduction.json")
    assert reproduce(name, folder, data) == before
    assert times == {file: file.stat().st_mtime_ns for file in folder.glob("searches/*/result.json")}


def test_other_settings_are_refused(reproduced: tuple[str, Path, Path]) -> None:
    name, folder, data = reproduced
    with pytest.raises(InputError, match=r"holds a reproduction with .*; give another folder"):
        reproduce(name, folder, data, overrides=(*FEW[name], "search.steps=5"))


@pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name Multi30k and Tatoeba")
def test_pairs_are_joined_once(tmp_path: Path) -> None:
    place = hat_pairs(tmp_path)
    sides = {f"{part}.{side}": (place / f"{part}.{side}") for part in ("train", "val", "test") for side in ("en", "de")}
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in sides.items()}
    assert lines["train.en"] == lines["train.de"] > 190_000
    assert lines["val.en"] == lines["val.de"] == 1014 and lines["test.en"] == lines["test.de"] == 1000
    times = {file: file.stat().st_mtime_ns for file in place.iterdir()}
    assert hat_pairs(tmp_path) == place and times == {file: file.stat().st_mtime_ns for file in place.iterdir()}
