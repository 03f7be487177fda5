"""A trained model, converted: searched with weights that stand still, killed, continued and exported."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import fill
from safetensors.torch import load_file

MODEL = """
import torch
from torch import nn

from modnas_fast import elastic


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x):
        return torch.relu(x + self.scale * self.norm(self.conv(x)))


def network():
    torch.manual_seed(5)
    layers = nn.Conv2d(3, 8, 3, padding=1), Block(), Block(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    return nn.Sequential(*layers)


def space():
    return elastic.from_module(network(), torch.randn(2, 3, 16, 16), widths=(0.5, 1))


def drawn():
    hidden = elastic.width("hidden", 4, 8)
    return elastic.ModuleSpace(
        lambda: nn.Sequential(nn.Flatten(), elastic.Linear(768, hidden), elastic.Linear(hidden, 3))
    )
"""
SMALL = {
    "task__limit": "null", "task__resize": 16, "search__steps": 12, "search__refine_steps": 2, "search__batch_size": 8,
    "search__evaluations": 1, "search__train_weights": "false", "objectives": "[error,parameters]",
    "search__checkpoint_every": 2,
}  # fmt: skip


def options(cli: Any, space: str) -> list[str]:
    given = cli.settings(**SMALL, space__name=space)
    place = given.index("space.channels=2")  # of another space
    return [*given[: place - 1], *given[place + 1 :], "--data", "own-pictures"]


@pytest.fixture(scope="module", autouse=True)
def folder(cli: Any) -> Path:
    (cli.folder / "own_trained.py").write_text(MODEL, encoding="utf-8")
    for seed, name in enumerate(("cat", "dog", "emu")):
        fill(cli.folder / "own-pictures" / name, 12, size=(20, 18), seed=100 * seed)
    return cli.folder


def test_a_killed_search_goes_on_with_the_models_weights(
    cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = cli.interrupt(signal.SIGKILL, folder / "trained", 4, "--out", "trained", *options(cli, "own_trained:space"))
    assert ended.code == -signal.SIGKILL and not (folder / "trained" / "result.json").exists()
    ended = cli("search", "--resume", "trained")
    assert ended.code == 0, ended.err
    assert "Verified: trained on from the model's weights" in " ".join(ended.out.split())
    content = json.loads((folder / "trained" / "result.json").read_text(encoding="utf-8"))
    told = "the search, and the training of verified networks, began with the weights of the model, and w stood still"
    assert told in content["task"]["notes"]
    assert "Trained on from the model" in (folder / "trained" / "report.html").read_text(encoding="utf-8")

    monkeypatch.syspath_prepend(folder)
    import own_trained  # type: ignore[import-not-found]

    kept, begun = load_file(folder / "trained" / "supernet.safetensors"), own_trained.space().supernet().state_dict()
    assert kept.keys() == begun.keys() and all(torch.equal(kept[name], begun[name]) for name in begun)
    device = content["devices"][0]["name"]
    ended = cli("export", "trained", folder / "cut", "--device", device, "--preference", "1,0", "--to", "safetensors")
    assert ended.code == 0, ended.err
    chosen = own_trained.space().parse(json.loads((folder / "cut" / "manifest.json").read_text())["architecture"])
    written = load_file(folder / "cut" / "network.safetensors")
    for name, weight in own_trained.space().build(chosen).state_dict().items():
        assert torch.equal(written[name], weight) or "running" in name or "num_batches" in name


def test_weights_that_were_never_trained_do_not_stand_still(cli: Any, folder: Path) -> None:
    ended = cli("search", "--out", "drawn", *options(cli, "own_trained:drawn"))
    assert ended.code == 2 and "Traceback" not in ended.err
    assert "false wants trained weights, and own_trained:drawn begins with random ones" in ended.err
