"""The reproduction on HAT's tables: its plan, and a whole one on made-up tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hat_tables import DEVICES, write_tables

from modnas_fast.baselines import BASELINES as KNOWN
from modnas_fast.config import make_config
from modnas_fast.report import write_reproduction
from modnas_fast.report.reproduction.contents import read_reproduction
from modnas_fast.reproduction import run as module
from modnas_fast.reproduction.compose import LABELS
from modnas_fast.reproduction.covered import covered
from modnas_fast.reproduction.hat_benchmark import find_reference, hat_benchmark
from modnas_fast.reproduction.hat_plan import AS_PUBLISHED, BASELINES, make_hat_plan
from modnas_fast.reproduction.plan import DEFAULT, Plan
from modnas_fast.reproduction.run import reproduce_hat
from modnas_fast.reproduction.standings import headline_table
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent

TINY = ("devices.networks=40", "task.queries=12", "predictor.steps=5", "predictor.hidden=8", "hypernetwork.intervals=3",
        "search.steps=2", "search.refine_networks=60", "search.evaluations=1", "evaluation.rays=5")  # fmt: skip


@pytest.mark.parametrize("quick", [True, False])
def test_every_search_has_a_valid_configuration_and_a_file_of_its_own(quick: bool) -> None:
    plan = make_hat_plan("reference.json", 3, quick)
    files = [group.file(variant) for group in plan.groups for variant in group.variants]
    assert len(files) == len(set(files)) == (5 if quick else 15)
    for group in plan.groups:
        config = group.config(DEFAULT)
        assert (config.seed, config.task.table, config.task.source) == (group.seed, "wmt14-ende", "surrogate")
        assert config.space.scale == "space0" and config.objectives == ("bleu_loss", "latency")
    assert plan.main[0].config(AS_PUBLISHED).scalarization.kind == "task_alone"
    assert set(plan.baselines) == set(BASELINES) <= set(KNOWN) and set(BASELINES) <= set(LABELS)
    assert plan.evaluations is not None and plan.evaluations * len(DEVICES) == plan.main[0].config(DEFAULT).task.queries
    used = {variant for values in plan.factors.values() for variant in values.values()}
    assert used == set(plan.main[0].variants)


def test_covered_points_are_those_that_some_point_is_as_good_as() -> None:
    points = np.array([[0.5, 0.5], [0.4999, 0.6], [0.1, 0.9], [0.8, 0.2]])
    front = [[0.5, 0.5], [0.1, 0.95], [0.7, 0.15]]
    assert covered(front, points) == 2  # the first by the first, the last by the last; the third is dearer
    assert covered([], points) == 0


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The full plan with tiny searches, one process."""

    @contextmanager
    def inline(jobs: int) -> Any:
        with ThreadPoolExecutor(1) as pool:
            yield pool

    def small_plan(*arguments: Any) -> Plan:
        plan = make_hat_plan(*arguments)
        refined = {"main": ("search.refine_steps=2",), "paper": ()}
        parts = {
            name: tuple(replace(g, overrides=(*g.overrides, *TINY, *more)) for g in getattr(plan, name))
            for name, more in refined.items()
        }
        return replace(plan, evaluations=12, **parts)

    monkeypatch.setenv("MODNAS_DATA", str(write_tables(tmp_path / "data")))
    monkeypatch.setattr(module, "make_hat_plan", small_plan)
    monkeypatch.setattr(module, "REFERENCE_EVALUATIONS", 60)
    monkeypatch.setattr(module, "worker_pool", inline)
    for name in ("search.bilevel", "runs.preparation"):
        monkeypatch.setattr(f"modnas_fast.{name}.CANDIDATES", 200)


@pytest.mark.usefixtures("small")
def test_a_whole_reproduction_stands_beside_published_networks(tmp_path: Path) -> None:
    options: dict[str, Any] = {"seeds": 1, "quick": False, "jobs": 1, "command": "it", "reporter": Silent()}
    content = reproduce_hat(tmp_path / "out", **options)
    read = read_reproduction(tmp_path / "out")
    assert read.judged and (read.quality.titled, read.cost.titled) == ("bleu_loss (%)", "latency (ms)")
    assert [method.name for method in read.methods] == [
        "modnas", "modnas-all", "paper", "shared-random", "shared-evolution", "shared-gp", "random", "evolution",
    ]  # fmt: skip
    assert [run.evaluations for run in read.methods[6].runs] == [3 * 12]
    assert all(run.evaluations == read.evaluations for method in read.methods[3:6] for run in method.runs)
    assert [ablation.value for ablation in read.ablations][1] == "task alone, as published"
    published = read.published
    assert published is not None and len(published.networks) == 17 and set(published.points) == set(DEVICES)
    for name, counts in published.covered.items():
        for device, found in counts.items():
            (run,) = next(method for method in read.methods if method.name == name).runs
            assert found == [covered(run.devices[device].front, np.array(published.points[device]))]
    for device in read.devices:
        assert device.measured_hypervolume is None and len(device.exact_front) >= 2
    assert read.predictor is not None and set(read.predictor.devices) == set(DEVICES)
    page = write_reproduction(tmp_path / "out").read_text()
    for words in ("MODNAS on HAT (WMT14 En-De)", "Of 17 published networks", "published networks", "judged latency",
                  "reference search&#39;s front", "extrapolation"):  # fmt: skip
        assert words in page, words
    assert "reference search's front" in str(headline_table(content).title)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "trials").iterdir()}
    reproduce_hat(tmp_path / "out", **options)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "trials").iterdir()} == before


@pytest.mark.usefixtures("small")
def test_a_reference_is_the_front_of_what_was_asked_for(tmp_path: Path) -> None:
    config, file = make_config(preset="hat", overrides=TINY), tmp_path / "reference.json"
    find_reference(file, config, 60, Silent())
    benchmark = hat_benchmark(config, file)
    assert [device.name for device in benchmark.devices] == list(DEVICES)
    assert 61 <= len(benchmark.table.architectures) <= 180 and benchmark.asks_judge
    for device in DEVICES:
        front = benchmark.fronts[device]
        assert front.values.min(0) == pytest.approx([0, 0]) and front.values.max(0) == pytest.approx([1, 1])
        onehot = benchmark.space.encode(benchmark.architectures(front.rows.tolist()))
        assert front.score_points(benchmark.points(onehot, device)).ratio == pytest.approx(1)
    with pytest.raises(InputError, match="reference.json is of 60 evaluations, not 50; delete it"):
        find_reference(file, config, 50, Silent())
    file.write_text("{")
    with pytest.raises(InputError, match="reference.json is damaged; delete it"):
        hat_benchmark(config, file)
