"""The benchmark of a step among MobileNetV3s: contenders that agree, and a tiny setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modnas_fast.bench import mobilenet_step


def test_a_contender_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = mobilenet_step.dynamic_logits
    monkeypatch.setattr(mobilenet_step, "dynamic_logits", lambda *given: right(*given) * (1 + 1e-4))
    with pytest.raises(RuntimeError, match="ours and the dynamic layers differ by"):
        mobilenet_step.check()


def test_contenders_agree_and_a_tiny_setting_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, before = tmp_path / "step.json", torch.get_num_threads()
    options = ["--devices", "1", "--batch", "4", "--side", "32", "--width", "0.1", "--rounds", "1", "--json", str(file)]
    try:
        mobilenet_step.main(options)
    finally:
        torch.set_num_threads(before)
    (row,) = json.loads(file.read_text())["results"]
    assert row["devices"] == 1 and set(row["ratio"]["step"]) == {"dynamic layers"}
    assert "ours is faster by" in capsys.readouterr().out
