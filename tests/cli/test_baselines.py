"""`baselines` as a command, on made-up tables in the layout of the real ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from modnas_fast.baselines import BASELINES
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.error_table import NATS_COLUMNS

OPTIONS = ("--evaluations", "30", "--jobs", "1", "--out", "contest")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    space = NB201Space()
    texts = [architecture.text for architecture in space.decode(space.enumerate())]
    generator = torch.Generator().manual_seed(0)
    accuracy = (90 * torch.rand(len(texts), generator=generator)).tolist()
    lines = [",".join(map(str, [text, *[value] * 3])) for text, value in zip(texts, accuracy)]
    (folder / "nb201" / "help-latency").mkdir(parents=True)
    (folder / "nb201" / "nats_bench.csv").write_text(
        "\n".join([",".join(["ArchitectureString", *NATS_COLUMNS.values()]), *lines])
    )
    for device in ("1080ti_1", "eyeriss"):
        latencies = (1 + torch.rand(len(texts), generator=generator)).tolist()
        torch.save(latencies, folder / "nb201" / "help-latency" / f"{device}.pt")
    return folder


@pytest.fixture
def baselines(command: Any, tables: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MODNAS_DATA", str(tables))
    return lambda *options: command("baselines", *options)


def test_a_contest_is_told_kept_and_extended(baselines: Any, tmp_path: Path) -> None:
    first = baselines("nb201", "--methods", "random", "--devices", "1080ti_1", "--seeds", "2", *OPTIONS)
    assert first.code == 0 and "Searching: done in" in first.err
    wider = ("--methods", "random, evolution", "--devices", "1080ti_1,eyeriss", "--seeds", "1")
    more = baselines("nb201", *wider, *OPTIONS)
    assert more.code == 0, more.err
    content = json.loads((tmp_path / "contest" / "baselines.json").read_text())
    assert {key: content[key] for key in ("space", "task", "evaluations")} == {
        "space": "nb201", "task": "cifar10", "evaluations": 30,
    }  # fmt: skip
    assert [(run["method"], run["device"], run["seed"]) for run in content["runs"]] == [
        ("evolution", "1080ti_1", 0), ("evolution", "eyeriss", 0),
        ("random", "1080ti_1", 0), ("random", "1080ti_1", 1), ("random", "eyeriss", 0),
    ]  # fmt: skip
    for method, runs in (("random", "3"), ("evolution", "2")):
        (line,) = [line for line in more.out.splitlines() if method in line]
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        summary = content["methods"][method]
        ratios = [f"{summary[key]:.4f}" for key in ("ratio_search", "ratio_unseen", "worst")]
        assert cells[:5] == [method, runs, *ratios]
    assert "contest/baselines.json" in more.out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("darts",), "tables of all networks are known for nb201 alone, got 'darts'"),
        (("nb201", "--task", "mnist"), "task: wanted one of cifar10"),
        (("nb201", "--devices", "pixel9"), "devices: the table has no 'pixel9'; it has 1080ti_1, eyeriss"),
        (("nb201", "--devices", "1080ti_1", "--methods", "best"), "methods: wanted 'random', "),
        (("nb201", "--methods", ","), "--methods: wanted names with commas between them"),
        (("nb201", "--devices", "1080ti_1", "--evaluations", "15626"), "evaluations: wanted 1 to 15625"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    baselines: Any, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    ended = baselines(*options)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1), ended.err
    assert text in ended.err and not (tmp_path / "runs").exists()


def test_another_budget_in_the_same_folder_is_refused(baselines: Any) -> None:
    options = ("nb201", "--methods", "random", "--devices", "1080ti_1", "--seeds", "1")
    assert baselines(*options, *OPTIONS).code == 0
    ended = baselines(*options, "--out", "contest")
    assert ended.code == 2 and "contest holds runs of space nb201, task cifar10, evaluations 30" in ended.err


def test_the_help_teaches(command: Any) -> None:
    ended = command("baselines", "--help")
    assert ended.code == 0
    assert "modnas-fast baselines nb201 --methods random,evolution" in ended.out
    for method in BASELINES:
        assert re.search(rf"\b{method}\b", ended.out), method
