"""The reproduction on MobileNetV3s: its plan, and a whole one on made-up tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ofa_tables import DEVICES, write_tables

from modnas_fast.baselines import BASELINES as KNOWN
from modnas_fast.report import write_reproduction
from modnas_fast.reproduction import constraints, ofa
from modnas_fast.reproduction import run as module
from modnas_fast.reproduction.compose import LABELS
from modnas_fast.reproduction.constraints import BUDGETS, ConstrainedGroup, summary
from modnas_fast.reproduction.covered import covered
from modnas_fast.reproduction.ofa import budgets_table, reproduce_ofa
from modnas_fast.reproduction.ofa_plan import BASELINES, make_ofa_plan, split_by_batch, split_by_card
from modnas_fast.reproduction.plan import DEFAULT, Plan
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.progress import Silent

TINY = ("devices.networks=40", "task.queries=12", "predictor.steps=5", "predictor.hidden=8", "hypernetwork.intervals=3",
        "search.steps=2", "search.refine_steps=2", "search.refine_networks=60", "search.evaluations=1",
        "evaluation.rays=5")  # fmt: skip


@pytest.mark.parametrize("quick", [True, False])
def test_every_search_has_a_valid_configuration_and_a_file_of_its_own(quick: bool) -> None:
    plan = make_ofa_plan(3, quick)
    files = [group.file(variant) for group in plan.groups for variant in group.variants]
    assert len(files) == len(set(files)) == (3 if quick else 8)
    for group in plan.groups:
        config = group.config(DEFAULT)
        assert (config.seed, config.task.table, config.task.source) == (group.seed, "imagenet", "surrogate")
        assert config.space.name == "mobilenetv3" and config.devices.table == "ofa-help"
        assert set(group.search or ()).isdisjoint(group.unseen or ())
        assert {*(group.search or ()), *(group.unseen or ())} == set(DEVICES)
    assert set(plan.baselines) <= set(BASELINES) <= set(KNOWN) and set(BASELINES) <= set(LABELS)


def test_the_splits_hold_out_a_card_and_a_batch() -> None:
    assert set(split_by_card()[1]) == {"titan_rtx_1", "titan_rtx_32", "titan_rtx_64"}
    searched, unseen = split_by_batch()
    assert len(searched) == 6 and len(unseen) == 6 and not any(name.endswith("_1") for name in searched)
    paper = make_ofa_plan(1, quick=False).paper[0].config(DEFAULT)
    assert (paper.predictor.kind, paper.scalarization.kind, paper.architect.kind) == ("mlp", "cosine", "reinmax")


@contextmanager
def inline(jobs: int) -> Any:
    """In this process: tests of workers stand elsewhere."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def small(seeds: int, quick: bool) -> Plan:
    """The plan of two devices with every search as small as it goes."""
    plan = make_ofa_plan(seeds, quick)

    def tiny(group: Any) -> ConstrainedGroup:
        return replace(group, overrides=(*group.overrides, *TINY), search=("v100_1",), unseen=("v100_64",))

    return replace(
        plan, main=tuple(map(tiny, plan.main)), paper=tuple(map(tiny, plan.paper)), splits=(), baselines=("random",)
    )


def test_a_whole_reproduction_tells_what_stands_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(write_tables(tmp_path / "data")))
    monkeypatch.setattr(ofa, "make_ofa_plan", small)
    monkeypatch.setattr(module, "worker_pool", inline)
    monkeypatch.setattr(module, "BASELINE_EVALUATIONS", 20)
    monkeypatch.setattr("modnas_fast.runs.preparation.CANDIDATES", 200)
    monkeypatch.setattr("modnas_fast.search.bilevel.CANDIDATES", 200)
    monkeypatch.setattr(constraints, "PER_BUDGET", 120)
    monkeypatch.setattr(constraints, "PER_FRONT", 500)
    options: dict[str, Any] = {"seeds": 1, "quick": True, "jobs": 1, "command": "test", "reporter": Silent()}
    content = reproduce_ofa(tmp_path / "run", **options)
    assert content == read_json(tmp_path / "run" / "reproduction.json")
    assert content["evaluations"] == 12 and content["judged"]
    (devices,) = content["beside"]["devices"]
    assert set(devices) == {"v100_1", "v100_64"}
    for device in devices.values():
        costs = [budget["cost"] for budget in device["budgets"]]
        assert len(costs) == BUDGETS and costs == sorted(costs) and device["evolved"] > 0.5
        found = [budget["search"] for budget in device["budgets"] if budget["search"] is not None]
        assert found and found[-1] <= found[0]
    assert content["beside"]["budgets"] <= 2 * BUDGETS
    assert len(budgets_table(content["beside"]).rows) == 2
    published = content["published"]
    assert len(published["networks"]) == 34 and set(published["compared"]) == {"v100_1", "v100_64"}
    for name, points in published["points"].items():
        assert len(points) == len(published["compared"][name]) == 6
        for method in content["methods"]:
            counts = [covered(run["devices"][name]["front"], np.array(points)) for run in method["runs"]]
            assert published["covered"][method["name"]][name] == counts
    assert "Of 6 published networks" in write_reproduction(tmp_path / "run").read_text()


def test_a_summary_by_hand() -> None:
    found = ((1.0, None, 30.0), (2.0, 25.5, 25.0), (3.0, 20.0, 20.25), (4.0, 20.0, None))
    budgets = [dict(zip(("cost", "answer", "search"), row)) for row in found]
    told = summary(
        [
            {"a": {"split": "search", "hypervolume": 0.9, "evolved": 1.0, "budgets": budgets}},
            {"b": {"split": "unseen", "hypervolume": 0.4, "evolved": 0.8, "budgets": []}},
        ]
    )
    assert told["ratio"] == {"search": 0.9, "unseen": 0.5} and told["lowest"] == 0.5
    assert (told["budgets"], told["worst"], told["mean"]) == (2, 0.5, 0.125)
    assert (told["beaten_by_a_tenth"], told["unanswered"]) == (1, 1)
