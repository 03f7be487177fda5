"""The reproduction on HW-GPT-Bench: its plan, and a whole one on a made-up table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hw_gpt_bench import write_table

from modnas_fast.baselines import BASELINES as KNOWN
from modnas_fast.report import write_reproduction
from modnas_fast.report.reproduction.contents import read_reproduction
from modnas_fast.reproduction import run as module
from modnas_fast.reproduction.compose import LABELS
from modnas_fast.reproduction.gpt_plan import BASELINES, PAPER_OVERRIDES, make_gpt_plan
from modnas_fast.reproduction.plan import DEFAULT, Plan
from modnas_fast.reproduction.run import reproduce_gpt
from modnas_fast.reproduction.standings import headline_table
from modnas_fast.reproduction.trial import Group
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces.gpt.convert import DEVICES

TINY = ("devices.networks=60", "task.queries=12", "predictor.steps=5", "predictor.hidden=8", "hypernetwork.intervals=3",
        "search.steps=2", "search.refine_networks=60", "search.evaluations=1", "evaluation.rays=5")  # fmt: skip


@pytest.mark.parametrize("scale", ["s", "l"])
@pytest.mark.parametrize("quick", [True, False])
def test_every_search_has_a_valid_configuration_and_a_file_of_its_own(scale: str, quick: bool) -> None:
    plan = make_gpt_plan(scale, 3, quick)
    files = [group.file(variant) for group in plan.groups for variant in group.variants]
    assert len(files) == len(set(files)) == (2 if quick else 9)
    for group in plan.groups:
        config = group.config(DEFAULT)
        assert (config.seed, config.task.table, config.task.source) == (group.seed, "openwebtext", "surrogate")
        assert config.space.scale == scale and config.objectives[0] == "perplexity"
        assert set(group.search or ()).isdisjoint(group.unseen or ())
    assert set(plan.baselines) <= set(BASELINES) <= set(KNOWN) and set(BASELINES) <= set(LABELS)
    assert plan.about.benchmark == "HW-GPT-Bench"


def test_the_full_plan_has_all_devices_and_the_paper_s_settings() -> None:
    plan = make_gpt_plan("s", 2, quick=False)
    assert {device for group in plan.three for device in (*group.search, *group.unseen)} == set(DEVICES)
    assert {group.metrics for group in plan.three} == {("latency", "energy")}
    paper = plan.paper[0].config(DEFAULT)
    assert paper.search.hyper_learning_rate == pytest.approx(8e-5) and paper.search.steps == 25_000
    assert (paper.predictor.kind, paper.scalarization.kind, paper.architect.kind) == ("mlp", "linear", "reinmax")
    assert len(plan.paper[0].overrides) == 1 + len(PAPER_OVERRIDES)


@contextmanager
def inline(jobs: int) -> Any:
    """In this process: tests of workers stand elsewhere."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The full plan with tiny searches on three devices, one process."""

    def shrunk(group: Group) -> Group:
        refine = () if group.name.startswith("paper") else ("search.refine_steps=2",)
        overrides = (*group.overrides, *TINY, *refine)
        return replace(group, overrides=overrides, search=("P100", "rtx2080"), unseen=("a100",))

    def small_plan(*arguments: Any) -> Plan:
        plan = make_gpt_plan(*arguments)
        parts = {name: tuple(map(shrunk, getattr(plan, name))) for name in ("main", "paper", "three")}
        return replace(plan, baselines=("random", "evolution"), **parts)

    monkeypatch.setenv("MODNAS_DATA", str(write_table(tmp_path / "data")))
    monkeypatch.setattr(module, "make_gpt_plan", small_plan)
    monkeypatch.setattr(module, "BASELINE_EVALUATIONS", 30)
    monkeypatch.setattr(module, "worker_pool", inline)
    monkeypatch.setattr("modnas_fast.search.bilevel.CANDIDATES", 300)


@pytest.mark.usefixtures("small")
def test_a_whole_reproduction_is_judged_and_says_so(tmp_path: Path) -> None:
    options: dict[str, Any] = {"seeds": 1, "quick": False, "jobs": 1, "command": "it", "reporter": Silent()}
    content = reproduce_gpt(tmp_path / "out", scale="s", **options)
    read = read_reproduction(tmp_path / "out")
    assert read.judged and (read.quality.name, read.cost.titled) == ("perplexity", "energy (mWh)")
    assert [method.name for method in read.methods] == ["modnas", "modnas-all", "paper", "random", "evolution"]
    for device in read.devices:
        assert device.measured_hypervolume is not None and device.measured_hypervolume != device.exact_hypervolume
        for method in read.methods:
            run = method.runs[0]
            assert set(run.devices) == {"P100", "rtx2080", "a100"}
            if method.name == "modnas-all":  # the front of what it evaluated is none inside a width
                assert not run.parts
                continue
            assert set(run.parts) == set(run.devices)
            assert all(set(parts) == {"e192", "e384", "e768"} for parts in run.parts.values())
    assert read.three_objectives is not None and read.three_objectives.objectives == ("perplexity", "latency", "energy")
    page = write_reproduction(tmp_path / "out").read_text()
    shown = ("MODNAS on HW-GPT-Bench", "judged front of the table", "as measured", "judged energy", "e384, unseen")
    for words in shown:
        assert words in page, words
    assert "NAS-Bench-201" not in page and "15,625" not in page
    assert "judged front" in str(headline_table(content).title)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "trials").iterdir()}
    reproduce_gpt(tmp_path / "out", scale="s", **options)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "trials").iterdir()} == before
    assert read_json(tmp_path / "out" / "settings.json")["scale"] == "s"
    with pytest.raises(InputError, match=r"holds a reproduction with seeds \[0\]"):
        reproduce_gpt(tmp_path / "out", scale="s", **{**options, "seeds": 2})
