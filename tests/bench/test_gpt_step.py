"""The benchmark of a step among GPTs: contenders that agree, and a tiny setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modnas_fast.bench import gpt_step
from modnas_fast.bench.gpt_contenders import Ours, Published, Setting, Sliced, problem
from modnas_fast.bench.gpt_step import CONTENDERS, PARTS, check, main, numbers
from modnas_fast.spaces.gpt.space import GPTSpace

TINY = Setting(devices=3, batch=2, context=8, vocabulary=13)


def test_contenders_agree_about_losses_and_all_gradients() -> None:
    check(TINY)
    found = numbers(Ours(problem(TINY, torch.float64)))
    losses, by_sample = found["by_samples"]
    assert losses.shape == (3,) and by_sample.shape == (3, GPTSpace("small").num_options)
    used = [bool(part.any()) for part in found["by_weights"]]
    assert bool(by_sample.any(dim=1).all()) and sum(used) > len(used) / 2


@pytest.mark.parametrize("kind", [Published, Sliced])
def test_a_contender_that_is_wrong_is_not_timed(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    right = kind.loss
    monkeypatch.setattr(kind, "loss", lambda self, row, choice: right(self, row, choice) * (1 + 1e-6))
    with pytest.raises(RuntimeError, match="by_samples of ours and the .* loop differ by 1.0e-06"):
        check(TINY)


def test_a_tiny_setting_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt_step, "check", lambda setting: None)  # tested above
    file, before = tmp_path / "gpt.json", torch.get_num_threads()
    sizes = ["--devices", "1,2", "--batch", "2", "--context", "8", "--vocabulary", "13", "--rounds", "1"]
    try:
        main([*sizes, "--threads", "1", "--json", str(file)])
    finally:
        torch.set_num_threads(before)
    out = capsys.readouterr().out
    assert all(name in out for name in CONTENDERS) and "T = 2, 2 × 8 tokens, scale small" in out
    content = json.loads(file.read_text())
    assert content["op"] == "gpt_step" and [row["devices"] for row in content["results"]] == [1, 2]
    for row in content["results"]:
        seconds = row["seconds"]
        assert set(seconds) == {*PARTS, "step"} and row["peak_bytes"].keys() == CONTENDERS.keys()
        assert seconds["step"]["ours"] == seconds["by_samples"]["ours"] + seconds["by_weights"]["ours"]
        assert row["ratio"]["step"]["sliced loop"] == seconds["step"]["sliced loop"] / seconds["step"]["ours"]
