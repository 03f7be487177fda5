"""Data, loss, metric and network of one's own, as docs/own-model.md writes them, from tensors to a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modnas_fast import Result

PAGE = (Path(__file__).parents[2] / "docs" / "own-model.md").read_text(encoding="utf-8")
GAUGE = next(block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if "TensorTask" in block)
CONFIGURATION = next(block for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S) if "gauge" in block)
SMALL = {
    "task__limit": "null", "task__options": "{samples: 400}", "search__steps": 20, "search__warmup_steps": 60,
    "search__refine_steps": 4, "search__batch_size": 32, "search__evaluations": 1, "verify__epochs": 2,
}  # fmt: skip


def options(cli: Any, **changes: Any) -> list[str]:
    given = cli.settings(**SMALL, **{"objectives": "[rmse,parameters]", **changes})
    place = given.index("space.channels=2")  # of another space
    return ["--config", "gauge.yaml", *given[: place - 1], *given[place + 1 :]]


@pytest.fixture(scope="module")
def run(cli: Any) -> Path:
    (cli.folder / "gauge.py").write_text(GAUGE, encoding="utf-8")
    (cli.folder / "gauge.yaml").write_text(CONFIGURATION, encoding="utf-8")
    ended = cli.here("search", "--out", "gauge", *options(cli))
    assert ended.code == 0, ended.err
    return cli.folder / "gauge"


def test_its_quality_is_the_metric_in_its_unit(run: Path) -> None:
    content = Result.load(run).content
    assert content["objectives"][0] == {"name": "rmse", "unit": "°C", "key": "rmse_c"}
    assert content["task"]["name"] == "gauge" and content["task"]["sizes"]["validation"] == 100
    values = [ray["rmse_c"] for entry in content["devices"] for ray in entry["rays"]]
    assert 0 < min(values) < 2.5, "a guess is wrong by more"
    assert all(entry["test"] > 0 for entry in content["verified"]) and content["verified"]


def test_a_network_of_it_is_exported(cli: Any, run: Path) -> None:
    ended = cli.here("export", run, cli.folder / "gauge-app", "--device", "anywhere", "--preference", "1,0",
                "--finetune", "1", "--to", "pt2")  # fmt: skip
    assert ended.code == 0, ended.err
    manifest = json.loads((cli.folder / "gauge-app" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"]["network.pt2"]["largest_difference"] < 1e-4


def test_the_same_seed_finds_the_same(cli: Any, run: Path) -> None:
    again = cli.folder / "gauge-again"
    ended = cli.here("search", "--out", again, *options(cli))
    assert ended.code == 0, ended.err
    assert (again / "supernet.safetensors").read_bytes() == (run / "supernet.safetensors").read_bytes()
    assert cli.result(again) == cli.result(run)


def test_weights_that_learned_nothing_are_told(cli: Any, run: Path) -> None:
    changes = {"search__weight_learning_rate": 1e-12, "verify__networks": 0}
    ended = cli.here("search", "--out", "gauge-still", *options(cli, **changes))
    assert ended.code == 0 and "note: no network is better than a guess (rmse" in ended.err
    notes = Result.load(cli.folder / "gauge-still").content["task"]["notes"]
    assert "the weights learned nothing" in notes[0]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("def task(): return 3", "task.kind: 'wrong:task' gives a int; wanted a task, such as modnas_fast.elastic"),
        ("task = 3", "task.kind: 'wrong:task' is a int; wanted a function or class"),
        ("def other(): pass", "task.kind: 'wrong:task' cannot be loaded"),
        (GAUGE.replace("loss=nn.functional.mse_loss", "loss=nn.functional.cosine_similarity"), "loss: "),
        (GAUGE.replace("return x, ", "return x[:, :5], "), "space.name: a network does not take samples [2, 5]"),
    ],
)
def test_bad_input_is_one_line(cli: Any, run: Path, code: str, line: str) -> None:
    (cli.folder / "wrong.py").write_text(code, encoding="utf-8")
    given = options(cli)
    tree = yaml.safe_load(CONFIGURATION)
    tree["task"]["kind"] = "wrong:task"
    (cli.folder / "wrong.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    given[1] = "wrong.yaml"
    if "samples" not in code:  # a function without arguments
        place = given.index("task.options={samples: 400}")
        given = given[: place - 1] + given[place + 1 :]
    ended = cli.here("search", "--out", "wrong-task", *given)
    assert ended.code == 2 and "Traceback" not in ended.err, ended.err
    assert f"modnas-fast: {line}" in ended.err.splitlines()[-1]
    assert not (cli.folder / "wrong-task").exists()
