"""The reproduction on tables of blocks: its plan, its reference, and a whole one on made-up tables."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest
import torch
from ofa_tables import write_published_blocks, write_tables

from modnas_fast.report import write_reproduction
from modnas_fast.reproduction import constraints, ofa
from modnas_fast.reproduction import run as module
from modnas_fast.reproduction.constraints import GENERATION, evolve
from modnas_fast.reproduction.covered import covered
from modnas_fast.reproduction.ofa import reproduce_blocks
from modnas_fast.reproduction.ofa_blocks import (
    CORE_I7,
    NOTE10,
    blocks_benchmark,
    find_reference,
    table_of_core_i7,
    tables_of,
)
from modnas_fast.reproduction.ofa_blocks_plan import RESOLUTIONS, make_blocks_plan
from modnas_fast.reproduction.ofa_published import OTHER_WIDTH, judged_errors, published_entry, space_of_width
from modnas_fast.reproduction.plan import DEFAULT, Plan
from modnas_fast.reproduction.reference import REFERENCE_FILE, reference_networks
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces import make_space
from modnas_fast.spaces.mobilenetv3.published_networks import NETWORKS
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published tables to compare")
SIDES = (176, 220, 224)
TINY = ("space.resolutions=[176,220,224]", "devices.networks=40", "task.queries=12", "predictor.steps=5",
        "predictor.hidden=8", "hypernetwork.intervals=3", "search.steps=2", "search.refine_steps=2",
        "search.refine_networks=60", "search.evaluations=1", "evaluation.rays=5")  # fmt: skip


@pytest.mark.parametrize("quick", [True, False])
def test_every_search_has_both_devices_and_a_file_of_its_own(quick: bool) -> None:
    plan = make_blocks_plan("reference.json", 3, quick)
    files = [group.file(variant) for group in plan.groups for variant in group.variants]
    assert len(files) == len(set(files)) == (2 if quick else 6)
    for group in plan.groups:
        config = group.config(DEFAULT)
        assert (config.seed, config.task.table, group.search, group.unseen) == (
            group.seed,
            "imagenet",
            (NOTE10, CORE_I7),
            (),
        )
        assert tuple(config.space.arguments["resolutions"]) == RESOLUTIONS and RESOLUTIONS[-1] == 224


def test_an_evolution_s_front_only_moves_forward() -> None:
    space = space_of_width(OTHER_WIDTH)
    weights = torch.rand(space.num_options, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def front(evaluations: int) -> float:
        def judge(onehot: torch.Tensor) -> torch.Tensor:
            return onehot.double() @ torch.stack([weights[:, 0], 1 - weights[:, 0] + 0.3 * weights[:, 1]], dim=1)

        onehot, values = evolve(space, judge, evaluations, torch.Generator().manual_seed(0))
        assert len(onehot) == len(values) == evaluations and torch.equal(judge(onehot), values)
        return float(moocore.hypervolume(values.numpy(), ref=np.full(2, 40.0)))

    assert front(GENERATION) < front(2 * GENERATION) < front(6 * GENERATION)


@contextmanager
def inline(jobs: int) -> Any:
    """In this process: tests of workers stand elsewhere."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_published_blocks(write_tables(tmp_path / "data"), SIDES)
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path / "data"))
    return tmp_path


def small(*arguments: Any) -> Plan:
    """The plan with every search as small as it goes."""
    plan = make_blocks_plan(*arguments)
    parts: dict[str, Any] = {
        name: tuple(replace(group, overrides=(*group.overrides, *TINY)) for group in getattr(plan, name))
        for name in ("main", "paper")
    }
    return replace(plan, baselines=("random",), evaluations=20, **parts)


def test_a_whole_reproduction_has_exact_latencies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ofa, "make_blocks_plan", small)
    monkeypatch.setattr(ofa, "REFERENCE_EVALUATIONS", 2 * GENERATION)
    monkeypatch.setattr(module, "worker_pool", inline)
    for name in ("search.bilevel", "runs.preparation"):
        monkeypatch.setattr(f"modnas_fast.{name}.CANDIDATES", 200)
    monkeypatch.setattr(constraints, "PER_BUDGET", 120)
    monkeypatch.setattr(constraints, "PER_FRONT", 2 * GENERATION)
    folder = home / "out"
    content = reproduce_blocks(folder, seeds=1, quick=True, jobs=1, command="it", reporter=Silent())
    assert [(device["name"], device["split"]) for device in content["devices"]] == [
        (NOTE10, "search"),
        (CORE_I7, "search"),
    ]
    assert content["judged"] and content["methods"][0]["runs"][0]["measured"] == 40
    assert set(content["beside"]["devices"][0]) == {NOTE10, CORE_I7}
    published = content["published"]
    assert {name: len(places) for name, places in published["compared"].items()} == {NOTE10: 6, CORE_I7: 30}
    for name, points in published["points"].items():
        (run,) = content["methods"][0]["runs"]
        assert published["covered"]["modnas"][name] == [covered(run["devices"][name]["front"], np.array(points))]
    page = write_reproduction(folder).read_text()
    assert "judged error" in page and "judged latency" not in page
    assert "i7-8700K, of 30" in page and "note10, of 6" in page and "reference search&#39;s front" in page

    config = small(str(folder / REFERENCE_FILE), 1, True).main[0].config(DEFAULT)
    benchmark = blocks_benchmark(config, folder / REFERENCE_FILE)
    assert set(benchmark.table.architectures) == set(reference_networks(folder / REFERENCE_FILE))
    table = benchmark.part_table
    assert table is not None and benchmark.table.judge is not None and benchmark.table.judge.fits(NOTE10)[0].r2 == 1
    onehot = benchmark.space.encode(benchmark.architectures([0, 1, 2]))
    for device in benchmark.devices:
        assert torch.equal(benchmark.table.values[device.name][:3], table.costs(device.name, onehot))
        units = benchmark.fronts[device.name]
        wanted = table.costs(device.name, onehot)[:, 0].numpy()
        told = benchmark.judged_points(device.name, onehot)[:, 1] * (units.high[1] - units.low[1]) + units.low[1]
        assert told == pytest.approx(wanted, rel=1e-12)


def test_networks_of_another_width_stand_where_a_table_has_it(home: Path) -> None:
    config = small("reference.json", 1, True).main[0].config(DEFAULT)
    find_reference(home / "reference.json", config, GENERATION, Silent())
    benchmark, other = blocks_benchmark(config, home / "reference.json"), space_of_width(OTHER_WIDTH)
    table = table_of_core_i7(other)
    entry = published_entry(benchmark, [], {CORE_I7: table})
    errors = judged_errors()
    assert [error is None for error in errors] == [network.resolution > 224 for network in NETWORKS]
    assert sum("not judged" in words for words in entry["networks"]) == 4
    front = benchmark.fronts[CORE_I7]
    for place, point in zip(entry["compared"][CORE_I7], entry["points"][CORE_I7], strict=True):
        network = NETWORKS[place]
        of = table if network.width == OTHER_WIDTH else benchmark.part_table
        space = other if network.width == OTHER_WIDTH else benchmark.space
        assert of is not None
        latency = of.costs(CORE_I7, space.encode([space.parse(network.architecture)])).item()
        assert point == pytest.approx(front.normalize(np.array([[errors[place], latency]]))[0].tolist(), abs=1e-5)


@needs_data
def test_the_published_tables_have_what_the_plan_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(DATA))
    options = make_blocks_plan("reference.json", 1, True).main[0].config(DEFAULT).space
    space = make_space(options.name, options.arguments)
    assert isinstance(space, MobileNetV3Space)
    table = tables_of(space)
    assert table.devices == (NOTE10, CORE_I7)
    (network,) = [network for network in NETWORKS if (network.device, network.cost) == ("note10", 30)]
    assert table.costs(NOTE10, space.encode([space.parse(network.architecture)])).item() == pytest.approx(
        29.97, abs=5e-3
    )
