"""A network of one's own, as docs/own-model.md writes it, from photos to a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pictures import fill

from modnas_fast import Result

PAGE = (Path(__file__).parents[2] / "docs" / "own-model.md").read_text(encoding="utf-8")
MODEL = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[0]
SMALL = {
    "task__limit": "null", "task__resize": 16, "search__steps": 4, "search__warmup_steps": 4, "search__refine_steps": 2,
    "search__batch_size": 8, "search__evaluations": 1, "devices__repeats": 1, "devices__formats": "[float32]",
    "devices__unseen": "[cpu_t1_b32_fp32]", "space__name": "own_model:space",
    "objectives": "[error,latency,parameters]",
}  # fmt: skip


def options(cli: Any, **changes: Any) -> list[str]:
    given = cli.settings(**SMALL, **changes)
    place = given.index("space.channels=2")  # of another space
    return given[: place - 1] + given[place + 1 :]


@pytest.fixture(scope="module")
def run(cli: Any) -> Path:
    (cli.folder / "own_model.py").write_text(MODEL, encoding="utf-8")
    for seed, name in enumerate(("cat", "dog", "emu")):
        fill(cli.folder / "own-photos" / name, 12, size=(20, 18), seed=100 * seed)
    ended = cli("search", "--data", "own-photos", "--out", "own", *options(cli), "--set", "space.options={classes: 3}")
    assert ended.code == 0, ended.err
    return cli.folder / "own"


def test_it_is_searched_verified_and_exported(cli: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(cli.folder)
    result = Result.load(run)
    content = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert content["space"]["name"] == "own_model:space" and len(content["verified"]) == 1
    for ray in content["devices"][0]["rays"]:
        network = result.build(ray["architecture"])
        assert ray["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    device = content["devices"][0]["name"]
    ended = cli.here("export", run, cli.folder / "app", "--device", device, "--preference", "1,0,0",
                     "--finetune", "1", "--to", "pt2")  # fmt: skip
    assert ended.code == 0, ended.err
    manifest = json.loads((cli.folder / "app" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"]["network.pt2"]["largest_difference"] < 1e-4
    assert manifest["architecture"] == result.pick(device, preference=[1, 0, 0]).text


def test_the_same_seed_gives_the_same_weights(cli: Any, run: Path) -> None:
    again = cli.folder / "own-again"
    ended = cli.here(
        "search", "--data", "own-photos", "--out", again, *options(cli), "--set", "space.options={classes: 3}"
    )
    assert ended.code == 0, ended.err
    assert (again / "supernet.safetensors").read_bytes() == (run / "supernet.safetensors").read_bytes()


def test_outputs_that_are_not_the_classes_are_one_line(cli: Any, run: Path) -> None:
    ended = cli.here(
        "search", "--data", "own-photos", "--out", "wrong", *options(cli), "--set", "space.options={classes: 4}"
    )
    assert ended.code == 2 and "Traceback" not in ended.err
    assert ended.err.splitlines()[-1] == (
        "modnas-fast: space.name: the model gives outputs [1, 4] for an image [3, 16, 16] of 3 classes; wanted [1, 3]"
    )
