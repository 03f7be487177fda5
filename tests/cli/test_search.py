"""A search as a process: its files, its answer, its output, and that a seed repeats it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from modnas_fast import Result
from modnas_fast.cli.summary import budget_tables
from modnas_fast.devices.machine import native_formats
from modnas_fast.runtime.terminal_table import show
from modnas_fast.spaces import NB201Space

FILES = {
    "config.yaml",
    "measurements.json",
    "metapredictor.safetensors",
    "checkpoint.pt",
    "hypernetwork.safetensors",
    "supernet.safetensors",
    "history.json",
    "curve.json",
    "evaluation.json",
    "verification.json",
    "verified",
    "costs.json",
    "drawings.json",
    "predictor.json",
    "result.json",
    "answers.npz",
    "report.html",
}
STAGES = (
    "Measuring this machine",
    "Training the metapredictor",
    "Searching",
    "Evaluating",
    "Writing the report",
)
REFERENCES = set(NB201Space.references)


def canonical(texts: set[str]) -> set[str]:
    space = NB201Space()
    onehot = space.canonical(space.encode([space.parse(text) for text in sorted(texts)]))
    return {architecture.text for architecture in space.decode(onehot)}


@pytest.fixture
def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def cache_of_digits(cli: Any) -> Path:
    """The file of measurements for the shared run: other images have files of their own."""
    files = (cli.cache / "measurements").glob("*.json")
    (found,) = [f for f in files if json.loads(f.read_text(encoding="utf-8"))["networks"]["input_shape"] == [1, 8, 8]]
    return found


def numbers(value: Any) -> list[float]:
    """Every number in a tree."""
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, list):
        return [n for part in value for n in numbers(part)]
    return [value] if isinstance(value, (int, float)) else []


def test_the_folder_holds_every_file_and_nothing_half_written(run: Path) -> None:
    tried = {"activations.json"} if "bfloat16" in native_formats() else set()
    assert {path.name for path in run.iterdir()} - {"plots"} == FILES | tried  # those come by `report`


def test_stdout_is_the_table_and_the_path_of_the_report(finished: Any, result: dict[str, Any]) -> None:
    run, ended = finished
    assert all(device["name"] in ended.out for device in result["devices"])
    assert "MODNAS" in ended.out and "random" in ended.out
    assert ended.out.rstrip().splitlines()[-1] == f"Report: {Path(run.name) / 'report.html'}"


def test_progress_is_plain_lines_on_stderr(finished: Any) -> None:
    run, ended = finished
    lines = ended.err.splitlines()
    assert lines[0] == f"Run folder: {run.name}"
    for stage in STAGES:
        assert any(line.startswith(f"{stage}: done in ") for line in lines), stage
    for text in (ended.out, ended.err):
        assert "\x1b" not in text and "\r" not in text


def test_the_head_of_the_result(result: dict[str, Any]) -> None:
    assert result["schema"] == 2
    assert result["space"]["name"] == "nb201" and result["space"]["num_architectures"] == 15625
    assert result["task"]["name"] == "digits" and result["task"]["classes"] == 10
    assert result["task"]["image"] == [1, 8, 8] and sum(result["task"]["sizes"].values()) == 200
    assert [objective["name"] for objective in result["objectives"]] == ["error", "latency"]
    assert result["seed"] == result["configuration"]["seed"] == 0
    assert result["configuration"]["space"]["channels"] == 2
    assert set(result["seconds"]) >= {"measure", "search", "evaluate", "verify"}
    assert all(value >= 0 for value in result["seconds"].values())
    assert result["hypervolume_protocol"]["reference_point"] == [1.0, 1.0]
    assert all(math.isfinite(number) for number in numbers(result))


def test_devices_are_those_of_the_native_formats_with_one_of_each_unseen(result: dict[str, Any]) -> None:
    splits = [device["split"] for device in result["devices"]]
    formats = native_formats()
    assert len(splits) >= 4 * len(formats)
    assert splits.count("unseen") >= len(formats) and splits.count("search") >= 2
    left_out = [note for note in result["task"]["notes"] if "no setting in bfloat16" in note]
    assert len(left_out) == ("bfloat16" not in formats)
    assert len({device["name"] for device in result["devices"]}) == len(splits)


def test_every_device_has_its_numbers(result: dict[str, Any]) -> None:
    for device in result["devices"]:
        assert len(device["embedding"]) == 10
        assert min(device["embedding"]) == 0 and max(device["embedding"]) == 1
        assert device["metrics"] == {"latency": "ms"}
        assert -1 <= device["predictor"]["latency_ms"]["spearman"] <= 1 and device["noise"]["latency_ms"] >= 0
        assert 0 <= device["hypervolume"] <= 1.0001 and 0 <= device["hypervolume_random"] <= 1.0001
        assert set(device["hypervolume_bounds"]) == {"error", "latency_ms"}
        assert all(low < high for low, high in device["hypervolume_bounds"].values())
        assert len(device["rays"]) == len(device["random"]) == 6


def test_every_front_is_sorted_distinct_and_nondominated(result: dict[str, Any]) -> None:
    for device in result["devices"]:
        front = device["front"]
        assert len(front) == device["front_networks"] >= device["distinct_nondominated"] >= 1
        assert device["hypervolume_front"] >= device["hypervolume"]
        found = {point["architecture"] for point in (*device["rays"], *device["archive"])}
        assert {point["architecture"] for point in front} <= found
        assert len({point["architecture"] for point in front}) == len(front)
        latencies, errors = [p["latency_ms"] for p in front], [p["error"] for p in front]
        assert latencies == sorted(latencies) and errors == sorted(errors, reverse=True)
        assert len(set(latencies)) == len(set(errors)) == len(front)
        for point in front:
            if "preference" in point:
                assert len(point["preference"]) == 2 and math.isclose(sum(point["preference"]), 1, abs_tol=1e-6)
            assert NB201Space().parse(point["architecture"]).text == point["architecture"]


def test_the_verified_network_is_measured_on_every_device(result: dict[str, Any]) -> None:
    (network,) = result["verified"]
    assert set(network["costs"]) == {device["name"] for device in result["devices"]}
    for costs in network["costs"].values():
        assert costs["latency_ms"]["measured"] > 0 and math.isfinite(costs["latency_ms"]["predicted"])
    assert 0 <= network["test"] <= 100 and 0 <= network["inherited"] <= 100
    shown = [p for d in result["devices"] for p in d["front"] if p["architecture"] == network["architecture"]]
    assert shown and all(point["test"] == {"error": network["test"]} for point in shown)
    assert all(point["measured"]["latency_ms"] > 0 for point in shown)


def test_budgets_that_were_asked_for_are_answered(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Result.load(run)
    name, *others = loaded.devices
    costs = [point.costs["latency_ms"].value for point in loaded.front(name)]
    least, most = min(costs), max(costs)
    monkeypatch.setenv("COLUMNS", "300")
    show(*budget_tables(loaded, {"latency_ms": most}))
    told = capsys.readouterr().out
    pick = loaded.pick(name, max={"latency_ms": most})
    assert all(f" {device} " in told for device in (name, *others)) and pick.text in told
    assert f"{pick.costs['latency_ms'].value:.4g} ms ({pick.costs['latency_ms'].source})" in told
    assert f"--device NAME --max latency_ms={most:g} --verify 5" in " ".join(told.split())
    show(*budget_tables(loaded, {"latency_ms": least * 1e-30}))  # what disturbed measurements foretell may be tiny
    assert capsys.readouterr().out.count("none within") == len(loaded.devices)


def test_of_unseen_devices_only_the_reference_networks_are_measured_before(run: Path, result: dict[str, Any]) -> None:
    measured = json.loads((run / "measurements.json").read_text(encoding="utf-8"))["source"]["latencies"]
    for device in result["devices"]:
        if device["split"] == "unseen":
            assert set(measured[device["name"]]) == canonical(REFERENCES)
        else:
            assert len(measured[device["name"]]) > 10


def test_the_history_is_of_the_search(run: Path, result: dict[str, Any]) -> None:
    history = json.loads((run / "history.json").read_text(encoding="utf-8"))
    assert history["devices"] == [d["name"] for d in result["devices"] if d["split"] == "search"]
    assert len(history["step"]) == len(history["mgd_weights"]) == len(history["task_loss"]) > 1
    for weights in history["mgd_weights"]:
        assert min(weights) >= 0 and math.isclose(sum(weights), 1, abs_tol=1e-4)
    volume = history["hypervolume"]
    search = result["configuration"]["search"]
    total = search["steps"] + search["warmup_steps"] + search["refine_steps"]
    assert len(volume["step"]) == 2 and volume["step"][-1] == total
    assert volume["devices"] == [d["name"] for d in result["devices"]]
    assert volume["values"][-1] == pytest.approx([d["hypervolume"] for d in result["devices"]])


def test_the_same_seed_gives_the_same_result_from_the_same_measurements(cli: Any, run: Path) -> None:
    cache = cache_of_digits(cli)
    before = cache.read_bytes(), cache.stat().st_mtime_ns
    assert cli.search("again", "--seed", "0").code == 0
    assert cli.result("again") == cli.result(run)
    assert (cli.folder / "again" / "history.json").read_bytes() == (run / "history.json").read_bytes()
    assert (cache.read_bytes(), cache.stat().st_mtime_ns) == before


@pytest.fixture(scope="module")
def other(cli: Any, finished: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A short run with another seed that measures anew over a cache of absurd latencies; that cache's file."""
    cached = cache_of_digits(cli)
    content = json.loads(cached.read_text(encoding="utf-8"))
    for networks in content["measurements"].values():
        for value in networks.values():
            value[0] = 1e6 + value[0]
    own = type(cli)(tmp_path_factory.mktemp("other"))
    stale = own.cache / "measurements" / cached.name
    stale.parent.mkdir(parents=True)
    stale.write_text(json.dumps(content), encoding="utf-8")
    few = {"verify__networks": 0, "search__steps": 4, "search__warmup_steps": 1}
    ended = own.search("other", "--seed", "1", "--remeasure", **few)
    assert ended.code == 0, ended.err
    assert "Verified" not in ended.out
    return own, stale


def test_another_seed_gives_another_result(other: tuple[Any, Path], result: dict[str, Any]) -> None:
    content = other[0].result("other")
    assert content["seed"] == 1 and content["verified"] == []
    drawn = [[p["architecture"] for p in r["devices"][0]["random"]] for r in (content, result)]
    assert drawn[0] != drawn[1]


def test_remeasure_forgets_the_cached_latencies(other: tuple[Any, Path]) -> None:
    own, stale = other
    anew = json.loads(stale.read_text(encoding="utf-8"))["measurements"]
    values = [value[0] for networks in anew.values() for value in networks.values()]
    assert values and max(values) < 1e6
    assert all(max(device["ranges"]["latency_ms"]) < 1e6 for device in own.result("other")["devices"])


def test_without_a_folder_to_write_to_but_the_run_nothing_is_lost(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home folder that cannot be written, and a cache that cannot be either."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "/proc/nothing")
    own = type(cli)(tmp_path)
    own.cache = Path("/proc/nothing/cache")
    few = {"verify__networks": 1, "search__steps": 2, "search__warmup_steps": 1, "search__refine_steps": 1}
    ended = own("search", "--out", "run", *own.settings(**few, report__plots=True))
    assert ended.code == 0, ended.err
    (note,) = [line for line in ended.err.splitlines() if "cache" in line]
    assert note.startswith("  note: the cache /proc/nothing/cache/measurements cannot be used (")
    assert all(": " in line or line.endswith(" left") for line in ended.err.splitlines())
    assert len(json.loads((tmp_path / "run" / "measurements.json").read_text())["source"]["latencies"]) >= 4
    assert (tmp_path / "run" / "report.html").exists() and list((tmp_path / "run" / "plots").iterdir())
