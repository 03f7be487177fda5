"""A trained network's searched parts beside its narrowed ones: who is compared, and that all of it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pictures import fill
from safetensors.torch import save_file

from modnas_fast.bench import converted


def test_rivals_have_all_blocks_and_every_width_at_its_share(tmp_path: Path) -> None:
    model = converted.resnet(classes=3, blocks=2)
    save_file(model.state_dict(), tmp_path / "trained.safetensors")
    arguments = {"weights": str(tmp_path / "trained.safetensors"), "classes": 3, "blocks": 2}
    whole = converted.space(**arguments)
    widths = [choice.name for choice in converted.space(**arguments, depth=False).choices]
    assert 3 <= len(widths) < len(whole.choices)
    half = whole.build(converted.narrowed(whole, widths, 0.5))
    convolutions = [layer for layer in half.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions if layer.kernel_size == (3, 3)] == [8] * 5 + [16] * 4 + [
        32
    ] * 4
    assert converted.narrowed(whole, widths, 1.0) == whole.ends[1]


def test_two_classes_from_the_trained_network_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(("cat", "dog")):
        fill(tmp_path / "own" / name, 60, size=(32, 32), seed=100 * seed)
    converted.main(["--data", str(tmp_path / "own"), "--quick", "--json", str(tmp_path / "converted.json")])
    rows = json.loads((tmp_path / "converted.json").read_text(encoding="utf-8"))["results"]
    assert [row["share"] for row in rows] == [0.25, 0.5, 0.75]
    for row in rows:
        assert 0 <= row["rival_error"] <= 100 and row["rival_ms"] > 0
        assert "ours" not in row or row["ours_ms"] <= row["rival_ms"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("seed 0: the trained network errs in") and "of 3 rivals" in lines[-1]
