"""Campaigns after each other: what is compared, and what is printed and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modnas_fast.bench import measuring
from modnas_fast.devices.machine import Setting
from modnas_fast.devices.measure import Measurement


def test_disagreement_is_the_median_over_networks() -> None:
    first = {"here": {text: Measurement(value, 0.0) for text, value in zip("abc", (1.0, 2.0, 4.0))}}
    later = {"here": {text: Measurement(value, 0.0) for text, value in zip("abc", (1.1, 1.0, 4.0))}}
    assert measuring.disagreement(first, later, "here") == pytest.approx(0.1)


def test_a_line_per_setting_and_a_campaign_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = Setting("cpu", 1, 1, torch.float32)
    monkeypatch.setattr(measuring, "machine_settings", lambda: [setting])
    measuring.main(["--quick", "--threads", "1", "--json", str(tmp_path / "measuring.json")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [setting.name, "median", "a"]
    results = json.loads((tmp_path / "measuring.json").read_text(encoding="utf-8"))["results"]
    (apart,) = results["settings"][setting.name]["disagreement"]
    assert 0 < apart < 10 and f"{apart:.1%}" in lines[0] and len(results["seconds"]) == 2
    assert ("not trustworthy" in lines[0]) == bool(results["settings"][setting.name]["doubts"])
