"""Coverage of confident picks: what is counted, on a few settings of HELP's tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modnas_fast.bench import conformal

pytestmark = pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name HELP's tables")


def test_levels_are_kept_by_random_networks_and_counted_for_picks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = conformal.true_latencies()
    monkeypatch.setattr(conformal, "true_latencies", lambda: {name: whole[name] for name in sorted(whole)[:4]})
    for name, value in {"UNSEEN": 1, "BUDGETS": 6, "RANDOM": 300}.items():
        monkeypatch.setattr(conformal, name, value)
    conformal.main(["--quick", "--threads", "1", "--networks", "120", "--json", str(tmp_path / "coverage.json")])
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads((tmp_path / "coverage.json").read_text(encoding="utf-8"))["results"]
    assert [line.split()[0] for line in lines[-3:]] == ["80%", "90%", "95%"]
    for row in rows:
        assert 0 < row["count"] <= 24
        assert abs(row["random"] - row["level"]) < 0.15  # 24 held-out networks: a standard deviation of 0.08 at most
        assert row["within_budget"] >= row["picks"]
