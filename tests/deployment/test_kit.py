"""A kit is made, killed and continued, measured by its script alone, and what that wrote is checked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from modnas_fast.config import make_config
from modnas_fast.deployment.kit import drawn, kit_id, make_kit, not_of_a_kit
from modnas_fast.deployment.kit_results import add_device, read_results
from modnas_fast.deployment.measuring import FromKit
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces import NB201Space, SearchSpace
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.tasks.language import LanguageModelling

SPACE = NB201Space()


def inputs() -> Inputs:
    config = make_config(preset="digits", overrides=["space.channels=2", "space.cells=1", "task.limit=100"])
    return Inputs(config, Silent(), remeasure=False)


def kit_of(folder: Path, networks: int = 10) -> dict[str, Any]:
    return make_kit(inputs(), folder, networks, 1, ("pt2",), 0, Silent())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit of the references, only to be read."""
    made = tmp_path_factory.mktemp("kits") / "kit"
    kit_of(made)
    return made


#: measure.py in a process that kills itself behind the header, a round of ten networks, and three of the next
KILLED = ("-c", """
import os, runpy, signal, sys
real, calls = os.fsync, []
def fsync(file):
    real(file)
    calls.append(file)
    if len(calls) == 14:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
runpy.run_path("measure.py", run_name="__main__")
""")  # fmt: skip


def measured(folder: Path, *arguments: str, start: Sequence[str] = ("measure.py",)) -> subprocess.CompletedProcess[str]:
    """The script of a kit in a process that knows nothing of this package."""
    command = [sys.executable, *start, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_a_kit_is_measured_by_its_script_and_becomes_a_device(folder: Path, tmp_path: Path) -> None:
    results, counter = tmp_path / "results.jsonl", tmp_path / "joules"
    counter.write_text("5000\n")
    energy = ("--energy-file", str(counter), "--energy-unit", "mw")
    killed = measured(folder, "--results", str(results), "--rounds", "2", *energy, start=KILLED)
    assert killed.returncode == -signal.SIGKILL
    whole = results.read_text()
    assert [json.loads(line)["round"] for line in whole.splitlines()[1:]] == 10 * [0] + 3 * [1]
    results.write_text(whole[:-30])  # as a kill in the midst of a line leaves it
    ended = measured(folder, "--results", str(results), "--rounds", "2", *energy)
    assert ended.returncode == 0 and "round 2 of 2" in ended.stdout, ended.stderr
    header, *lines = map(json.loads, results.read_text().splitlines())
    assert header["kit"] == read_json(folder / "kit.json")
    assert lines[:12] == [json.loads(line) for line in whole.splitlines()[1:13]]
    assert sorted((line["round"], line["network"]) for line in lines) == [
        (number, f"{network:03d}.pt2") for number in range(2) for network in range(10)
    ]
    assert all(line["ms"] > 0 and line["energy_mj"] == pytest.approx(5 * line["ms"]) for line in lines)
    other = measured(folder, "--results", str(results), "--threads", "2")
    assert other.returncode == 1 and "holds values of another kit or setting" in other.stderr


def test_a_killed_kit_continues_to_the_same_kit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modnas_fast.deployment import kit

    writes: list[Any] = []
    real: Callable[..., None] = kit._write

    def killed(*arguments: Any) -> None:
        if len(writes) == 3:
            raise KeyboardInterrupt
        writes.append(arguments)
        real(*arguments)

    monkeypatch.setattr(kit, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        kit_of(tmp_path / "kit")
    assert not (tmp_path / "kit" / "kit.json").exists()
    with pytest.raises(InputError, match="OUT: .* already holds another kit"):
        kit_of(tmp_path / "kit", networks=11)
    monkeypatch.setattr(kit, "_write", real)
    assert kit_of(tmp_path / "kit")["about"] == read_json(folder / "kit.json")["about"]


IDS = """
import torch
from torch import nn
from modnas_fast import elastic

def space():
    def make():
        size, inner = elastic.width("size", 2, 3, 4, 5), elastic.width("inner", 2, 4, 6)
        return nn.Sequential(elastic.Embedding(20, size), elastic.Linear(size, inner), elastic.Linear(inner, 20))
    return elastic.ModuleSpace(make, takes_ids=True)

def task():
    ids = torch.arange(80).view(20, 4) * 7 % 20
    def nats(outputs, y):
        return nn.functional.cross_entropy(outputs.flatten(0, -2), y.flatten())
    parts = 3 * [(ids[:, :-1], ids[:, 1:])]
    return elastic.TensorTask("ids", *parts, loss=nats, metric=nats, quality=("nats", ""), guess=torch.zeros(3, 20))
"""


def test_networks_of_ids_are_measured_on_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "few_ids.py").write_text(IDS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    named = ["space.name=few_ids:space", "task.kind=few_ids:task", "task.limit=null"]
    made = make_kit(
        Inputs(make_config(overrides=named), Silent(), False), tmp_path / "kit", 10, 2, ("pt2",), 0, Silent()
    )
    assert made["input"]["dtype"] == "int64" and made["input"]["shape"] == [2, 3] and made["input"]["below"] <= 20
    ended = measured(tmp_path / "kit", "--rounds", "1")
    assert ended.returncode == 0, ended.stderr
    _, *lines = map(json.loads, (tmp_path / "kit" / "results.jsonl").read_text().splitlines())
    assert len(lines) == 10 and all(line["ms"] > 0 for line in lines)


def test_what_a_kit_does_not_measure_is_told() -> None:
    class Told:
        config = make_config(preset="gpt-small", overrides=["objectives=[perplexity,latency,token_latency]"])
        task = LanguageModelling("ids", dict.fromkeys(("train", "validation", "test"), torch.arange(20)), 4, 20)

    assert not_of_a_kit(Told()) == [  # type: ignore[arg-type]
        "token_latency measured here is that of a token, a kit's that of a whole pass"
    ]


def test_references_come_first_and_none_stands_twice() -> None:
    texts = drawn(SPACE, 60, 0)
    assert texts[:10] == list(SPACE.references)
    functions = {a.text for a in SPACE.decode(SPACE.canonical(SPACE.encode([SPACE.parse(t) for t in texts])))}
    assert len(functions) == len(texts) == 60
    with pytest.raises(InputError, match="--networks: wanted at least the 10 references, got 9"):
        drawn(SPACE, 9, 0)


def test_a_space_that_names_references_twice_has_them_written_once_and_told_ten_times(tmp_path: Path) -> None:
    space = MobileNetV3Space("small", kernels=(3,))
    path = write(tmp_path / "r.jsonl", space=space)
    once = list(dict.fromkeys(space.references))
    assert len(once) == 9 and drawn(space, 40, 0)[:9] == once and len(set(drawn(space, 40, 0))) == 40
    found = read_results(path)
    assert found.references == list(space.references)
    embedding = read_json(add_device("phone", found, tmp_path)["pick"])
    assert embedding == pytest.approx([1.0 + once.index(text) for text in space.references], rel=0.011)
    taken = FromKit(path, space).costs(once)["latency_ms"]
    assert taken.references == embedding and len(taken.networks) == 9
    with pytest.raises(InputError, match="--results: .* is of a kit of another space"):
        FromKit(path, SPACE)


# ---- what the script wrote ----


def header(networks: int, space: SearchSpace) -> dict[str, Any]:
    entries = [
        {"file": f"{number:03d}.onnx", "architecture": text, "reference": text in space.references, "sha256": ""}
        for number, text in enumerate(drawn(space, networks, 0))
    ]
    about = {"references": list(space.references)}
    kit: dict[str, Any] = {"schema": 1, "about": about, "input": {}, "networks": entries}
    kit["id"] = kit_id(kit)
    return {"kit": kit, "setting": {}, "machine": {}}


def write(
    path: Path,
    networks: int = 40,
    change: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda x: x,
    space: SearchSpace = SPACE,
) -> Path:
    """Ten rounds in which network k takes 1 + k ms, and 1 % more or less."""
    lines = [json.dumps(header(networks, space))]
    for number in range(10):
        for at in range(networks):
            value = (1 + at) * (1 + 0.01 * (-1) ** number)
            line = change({"round": number, "network": f"{at:03d}.onnx", "ms": value, "disturbed": False})
            lines += [json.dumps(line)] if line else []
    path.write_text("\n".join(lines) + "\n")
    return path


def test_medians_make_a_table_and_an_embedding(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", change=lambda line: {**line, "ms": 50.0, "disturbed": True}
                 if line["round"] == 3 else line)  # fmt: skip
    found = read_results(path)
    assert found.noise == pytest.approx(0.01, abs=0.011) and found.disturbed == 1 and found.rounds == 10
    for name in ("phone", "board"):
        written = add_device(name, found, tmp_path)
    assert read_json(written["pick"]) == pytest.approx([1.0 + at for at in range(10)], rel=0.011)
    rows = written["search"].read_text().splitlines()
    assert rows[0] == "architecture,device,latency_ms" and len(rows) == 81
    add_device("phone", found, tmp_path)
    assert len(written["search"].read_text().splitlines()) == 81


def test_ten_references_serve_pick_alone(tmp_path: Path) -> None:
    found = read_results(write(tmp_path / "r.jsonl", networks=10))
    assert not found.serves_search and set(add_device("phone", found, tmp_path)) == {"pick"}


def test_networks_without_values_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", change=lambda line: None if line["network"] == "039.onnx" else line)
    found = read_results(path)
    assert found.missing == [drawn(SPACE, 40, 0)[39]] and len(found.values["latency_ms"]) == 39


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: None if x["network"] == "004.onnx" else x, "lacks 1 of the 10 reference networks"),
        (lambda x: {**x, "ms": x["ms"] * (1 + 0.6 * (x["round"] % 2))}, "scatter by .* fix its clock"),
        (lambda x: {**x, "ms": x["ms"] * (1 + 0.03 * x["round"])}, "became 1.2. times as slow"),
        (lambda x: {**x, "disturbed": x["round"] > 2}, "3 calm rounds of 10; wanted 6"),
        (lambda x: {**x, "network": "100.onnx"}, "has 100.onnx, which is no network of its kit"),
        (lambda x: {**x, "ms": -1}, "no file of a kit's measure.py, or was changed"),
    ],
)
def test_bad_values_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_results(write(tmp_path / "r.jsonl", change=change))


def test_values_of_another_kit_are_refused(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl")
    with pytest.raises(InputError, match="RESULTS: .* has networks of kit .*: measure with that one"):
        read_results(path, folder)
    with pytest.raises(InputError, match="--kit: .* holds no kit"):
        read_results(path, tmp_path)
    changed = path.read_text().replace("skip_connect", "avg_pool_3x3", 1)
    path.write_text(changed)
    with pytest.raises(InputError, match="or was changed"):
        read_results(path)
    with pytest.raises(InputError, match="does not exist; run measure.py"):
        read_results(tmp_path / "none.jsonl")
