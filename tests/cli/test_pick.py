"""Questions to a finished run on the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from modnas_fast.spaces import NB201Space

DEVICE = "cpu_t1_b1_fp32"
NEEDED = ("config.yaml", "result.json", "hypernetwork.safetensors", "metapredictor.safetensors")
LATENCIES = [0.9, 1.0, 0.4, 1.4, 0.3, 2.0, 1.5, 3.1, 1.2, 2.9]


@pytest.fixture
def bare(run: Path, tmp_path: Path) -> Path:
    """What picking needs of a run, without checkpoint, supernet and measurements."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in NEEDED:
        shutil.copy(run / name, folder)
    return folder


def answer(ended: Any) -> dict[str, Any]:
    assert ended.code == 0 and ended.err == "", ended.err
    content = json.loads(ended.out)
    assert set(content) == {"device", "architecture", "latency_ms", "error"}
    assert NB201Space().parse(content["architecture"]).text == content["architecture"]
    assert math.isfinite(content["latency_ms"])
    assert content["error"] is None or 0 <= content["error"] <= 100
    return content


def test_by_preference_in_words(command: Any, bare: Path) -> None:
    ended = command("pick", bare, "--device", DEVICE, "--preference", "0.3,0.7")
    assert ended.code == 0 and ended.err == ""
    architecture, *rest = ended.out.splitlines()
    assert NB201Space().parse(architecture)
    assert [line.split("  ")[0] for line in rest] == ["device", "predicted latency", "supernet error"]
    assert DEVICE in rest[0] and rest[1].endswith(" ms")


def test_weights_of_a_preference_count_relative_to_each_other(command: Any, bare: Path) -> None:
    asked = ("pick", bare, "--device", DEVICE, "--json", "--preference")
    assert answer(command(*asked, "3,7")) == answer(command(*asked, " 0.3 , 0.7 "))
    for corner in ("1,0", "0,1"):
        assert answer(command(*asked, corner))["device"] == DEVICE


def test_a_ray_of_the_run_is_answered_by_its_network(command: Any, bare: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    for device in (content["devices"][0], content["devices"][-1]):
        for ray in device["rays"][::2]:
            weights = ",".join(map(str, ray["preference"]))
            chosen = answer(
                command("pick", bare, "--device", device["name"], "--preference", weights, "--json")
            )
            assert chosen["architecture"] == ray["architecture"] and chosen["error"] == ray["error"]
            assert chosen["latency_ms"] == pytest.approx(ray["latency_ms"], rel=1e-4)


def test_within_a_budget_the_error_is_least(command: Any, bare: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    device = content["devices"][0]
    own = [*device["rays"], *device["random"]]
    limit = sorted(point["latency_ms"] for point in own)[len(own) // 2]
    chosen = answer(
        command("pick", bare, "--device", device["name"], "--max", f"latency_ms={limit * 1.001}", "--json")
    )
    assert chosen["latency_ms"] <= limit * 1.001
    assert chosen["error"] <= min(point["error"] for point in own if point["latency_ms"] <= limit)


def test_the_fastest_named_by_a_refusal_is_within_reach(command: Any, bare: Path) -> None:
    refused = command("pick", bare, "--device", DEVICE, "--max", "latency_ms=-1000")
    fastest = float(refused.err.split("to take ")[1].split(" ms")[0])
    chosen = answer(
        command("pick", bare, "--device", DEVICE, "--max", f"latency_ms={fastest + 0.01 * abs(fastest)}", "--json")
    )
    assert chosen["latency_ms"] == pytest.approx(fastest, rel=1e-2)


@pytest.mark.parametrize("form", ["list", "lines", "commas"])
def test_a_new_device_from_ten_latencies(command: Any, bare: Path, tmp_path: Path, form: str) -> None:
    text = {
        "list": json.dumps(LATENCIES),
        "lines": "\n".join(map(str, LATENCIES)) + "\n",
        "commas": ", ".join(map(str, LATENCIES)),
    }
    (tmp_path / "phone.txt").write_text(text[form])
    asked = ("pick", bare, "--embedding", "phone.txt", "--json")
    assert answer(command(*asked, "--preference", "0.3,0.7"))["device"] == "phone"
    assert answer(command(*asked, "--max", "latency_ms=1000"))["error"] is not None


def test_a_known_device_given_by_its_latencies_is_answered_alike(
    command: Any, bare: Path, tmp_path: Path
) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    device = content["devices"][-1]
    low, high = device["latency_range_ms"]
    latencies = [low + (high - low) * value for value in device["embedding"]]
    (tmp_path / "twin.json").write_text(json.dumps(latencies))
    for question in (("--preference", "0.4,0.6"), ("--max", f"latency_ms={high}")):
        known = answer(command("pick", bare, "--device", device["name"], *question, "--json"))
        twin = answer(command("pick", bare, "--embedding", "twin.json", *question, "--json"))
        assert twin["architecture"] == known["architecture"] and twin["device"] == "twin"


def test_devices_and_references_are_listed(command: Any, bare: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    listed = command("pick", bare, "--devices").out.splitlines()
    assert listed == [f"{device['name']}  ({device['split']})" for device in content["devices"]]
    references = command("pick", bare, "--references").out.splitlines()
    assert references == list(NB201Space.references) and len(references) == 10


def test_as_a_process_without_supernet_and_data(cli: Any, bare: Path) -> None:
    chosen = answer(cli("pick", bare, "--device", DEVICE, "--preference", "0.5,0.5", "--json"))
    assert chosen["device"] == DEVICE
    assert {path.name for path in bare.iterdir()} == set(NEEDED)
