"""The benchmark of a step among encoder-decoders: contenders that agree, and a tiny setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modnas_fast.bench.hat_step import CONTENDERS, PARTS, Contender, Setting, check, main

TINY = Setting(devices=2, pairs=2, tokens=4, vocabulary=13)


def test_a_contender_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    check(TINY)
    right = Contender._losses
    monkeypatch.setattr(Contender, "_losses", lambda self, row: right(self, row) * (1 + 1e-6 * self._hard))
    with pytest.raises(RuntimeError, match="losses of masks and of prefixes differ by 1.0e-06"):
        check(TINY)


def test_a_tiny_setting_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, before = tmp_path / "hat.json", torch.get_num_threads()
    sizes = ["--devices", "1,2", "--pairs", "2", "--tokens", "4", "--vocabulary", "13", "--rounds", "1"]
    try:
        main([*sizes, "--threads", "1", "--json", str(file)])
    finally:
        torch.set_num_threads(before)
    out = capsys.readouterr().out
    assert all(name in out for name in CONTENDERS) and "T = 2, 2 pairs of 4 tokens, scale small" in out
    content = json.loads(file.read_text())
    assert content["op"] == "hat_step" and [row["devices"] for row in content["results"]] == [1, 2]
    for row in content["results"]:
        assert row["seconds"].keys() == row["ratio"].keys() == PARTS.keys()
        assert row["ratio"]["by_weights"]["masks"] == pytest.approx(
            row["seconds"]["by_weights"]["masks"] / row["seconds"]["by_weights"]["ours"]
        )
