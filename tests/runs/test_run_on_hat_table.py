"""A whole run on made-up HAT tables: rows of averages, a judge that is asked, and that each number says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hat_tables import DEVICES, write_tables

from modnas_fast.config import make_config
from modnas_fast.result.folder import create_run
from modnas_fast.runs.run import Run
from modnas_fast.spaces.hat.space import HATSpace

TINY = (
    "devices.networks=40", "task.queries=20", "predictor.steps=30", "predictor.hidden=16", "search.steps=4",
    "search.refine_steps=6", "search.refine_preferences=3", "search.refine_networks=200", "search.evaluations=1",
    "evaluation.rays=6",
)  # fmt: skip


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(write_tables(tmp_path / "data")))
    for module in ("runs.preparation", "search.bilevel"):
        monkeypatch.setattr(f"modnas_fast.{module}.CANDIDATES", 300)
    monkeypatch.setattr("modnas_fast.search.evaluator.BOUND_SAMPLE", 300)


@pytest.mark.usefixtures("small")
def test_every_number_of_a_run_on_rows_says_what_it_is(tmp_path: Path) -> None:
    config = make_config(preset="hat", overrides=TINY)
    Run(create_run(tmp_path / "run", config), config).execute()
    content: dict[str, Any] = json.loads((tmp_path / "run" / "result.json").read_text())
    assert content["quality_kind"] == "judged" and content["cost_sources"] == {"latency_ms": "tabulated"}
    space = HATSpace("space0")
    assert space.published is not None
    truth, table = space.published.truth("wmt14-ende"), space.published.costs("hat")
    assert [entry["name"] for entry in content["devices"]] == list(DEVICES)
    for entry in content["devices"]:
        points = [*entry["rays"], *entry["front"], *entry["random"]]
        onehot = space.encode([space.parse(point["architecture"]) for point in points])
        assert truth.judge is not None and table.judge is not None
        assert [p["bleu_loss"] for p in points] == pytest.approx(truth.judge(onehot).tolist(), rel=1e-6)
        assert [p["latency_ms"] for p in points] == pytest.approx(table.judge(entry["name"], onehot)[:, 0].tolist())
        assert {str(p["sources"]) for p in points} == {"{'latency_ms': 'judged'}"}
        count = 50 if entry["split"] == "search" else 80
        assert entry["predictor"]["latency_ms"]["networks"] == count, "rows that the search did not know judge"
    notes = " ".join(content["task"]["notes"])
    for words in ("100 − BLEU", "off by", "extrapolation", "by that regression", "the search knew 40 on each"):
        assert words in notes, words
    kept = json.loads((tmp_path / "run" / "measurements.json").read_text())
    assert len(kept["queried"]) == 20, "each network that the judge was asked for is counted"
    assert {name: len(rows) for name, rows in kept["source"]["rows"].items()} == dict(zip(DEVICES, (40, 40, 10)))
    assert all(space.parse(text).text == text for text in kept["queried"])


@pytest.mark.usefixtures("small")
def test_a_run_that_goes_on_finds_the_same(tmp_path: Path) -> None:
    found = []
    for name in ("whole", "again"):
        config = make_config(preset="hat", overrides=TINY)
        folder = tmp_path / name
        Run(create_run(folder, config), config).execute()
        if name == "again":  # what came behind the preparation is lost
            for file in ("result.json", "evaluation.json", "checkpoint.pt", "hypernetwork.safetensors"):
                (folder / file).unlink()
            Run(folder, config).execute()
        found.append([entry["front"] for entry in json.loads((folder / "result.json").read_text())["devices"]])
    assert found[0] == found[1]
