"""What a finished run leaves, put together from what its stages found."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from made_up_tables import SPACE, TEXTS, costs, errors

from modnas_fast.config import make_config
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.devices.formula_costs import WithFormulas
from modnas_fast.devices.metric import ExactCosts
from modnas_fast.devices.table_costs import TableCosts
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.result.content import objectives_on, plain_points
from modnas_fast.result.kept_table import kept_costs, kept_qualities
from modnas_fast.runs.compose import Outcomes, compose
from modnas_fast.runtime.objective import Objective
from modnas_fast.runtime.progress import Silent
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.search.history import History
from modnas_fast.spaces.published import CostTable, Truth

NETWORK: dict[str, Any] = {"input_shape": (1, 8, 8), "image_channels": 1, "classes": 10, "channels": 4, "cells": 1}
QUALITY = Objective("error", "%")
SOME = tuple(sorted({*SPACE.references, *TEXTS[::260]}))
CHOSEN = (SOME[5], next(text for text in TEXTS if text not in SOME))


def source(texts: tuple[str, ...], *metrics: str) -> CostSource:
    """A table of latencies on two devices, one of them unseen, among exact costs in the order of `metrics`."""
    rows = [TEXTS.index(text) for text in texts]
    values = {name: costs(place)[rows, None] for place, name in enumerate(("my phone", "board"))}
    table = CostTable(texts, {"latency": "ms"}, values)
    own = TableCosts(SPACE, table, "own.csv", ["my phone"], ["board"], networks=20, heldout=5, seed=0)
    exact = ExactCosts(SPACE, [name for name in metrics if name != "latency"], lambda: NETWORK)
    made: CostSource = WithFormulas(own, metrics, exact) if len(metrics) > 1 else own
    made.begin(Silent())
    return made


def composed(made: CostSource, folder: Path, truth: Truth | None = None) -> dict[str, Any]:
    """The content of result.json of a run that found CHOSEN on every device."""
    width = 10
    model = CostModel(
        [MetaPredictor(SPACE, width, generator=torch.Generator().manual_seed(k)) for k in range(len(made.kinds))]
    )
    evaluator = Evaluator(
        SPACE, lambda onehot: torch.tensor([20.0, 10.0])[: len(onehot)], model.requires_grad_(False), made
    )
    onehot = SPACE.encode([SPACE.parse(text) for text in CHOSEN])
    evaluator.compute_errors(onehot)
    found, points = {}, {}
    for device in made.devices:
        plain = plain_points(evaluator.points(onehot, device), objectives_on(device, QUALITY))
        bounds = [] if truth and made.complete else evaluator.cost_bounds(device)
        found[device.name] = {"rays": plain, "random": plain, "cost_bounds": bounds}
        points[device.name] = [list(point.values) for point in evaluator.points(onehot, device)]
    history = History(
        ["my phone"], step=[1], costs=[[[0.5] * len(made.kinds)]], tracked=[{"step": 1, "points": points}]
    )
    prepared = SimpleNamespace(
        devices=made.devices, costs=model, objective=SimpleNamespace(chance_error=90.0), queried={TEXTS[0]: 1.0}
    )
    task = SimpleNamespace(description=lambda: {"name": "stripes", "notes": ["of the task"], "network": NETWORK})
    inputs = SimpleNamespace(
        config=make_config(objectives=["error", *made.metrics]), space=SPACE, quality=QUALITY, truth=truth, source=made,
        trains=truth is None, task=task, has_benchmark=truth is not None and made.complete,
    )  # fmt: skip
    answer = SimpleNamespace(prepared=prepared, search=SimpleNamespace(history=history))
    verification = {"test": {} if truth else {CHOSEN[1]: 12.5}}
    outcomes = Outcomes({"devices": found}, {"networks": {}}, {}, verification)
    content = compose(inputs, folder, answer, outcomes, {"search": 1.0})  # type: ignore[arg-type]
    return json.loads(json.dumps(content))


@pytest.mark.parametrize("metrics", [("latency", "memory"), ("memory", "latency")])
def test_a_table_of_some_networks_beside_an_exact_cost(tmp_path: Path, metrics: tuple[str, ...]) -> None:
    made = source(SOME, *metrics)
    content = composed(made, tmp_path)
    keys = [{"latency": "latency_ms", "memory": "memory_mb"}[metric] for metric in metrics]
    assert [objective["key"] for objective in content["objectives"]] == ["error", *keys]
    assert content["cost_sources"] == {"latency_ms": "tabulated", "memory_mb": "exact"}
    assert content["quality_kind"] == "inherited" and content["task"]["notes"] == ["of the task", *made.notes]
    memory = SPACE.analytic(SPACE.encode([SPACE.parse(text) for text in CHOSEN]), **NETWORK)["memory"].tolist()
    for place, entry in enumerate(content["devices"]):
        assert list(entry["ranges"]) == keys and list(entry["predictor"]) == ["latency_ms"]
        assert [ray["sources"]["latency_ms"] for ray in entry["rays"]] == ["tabulated", "predicted"]
        assert entry["rays"][0]["latency_ms"] == costs(place)[TEXTS.index(CHOSEN[0])].item()
        assert [ray["memory_mb"] for ray in entry["rays"]] == pytest.approx(memory, rel=1e-12)
        assert "hypervolume_exact" not in entry and entry["measured"] == {}
    (verified,) = content["verified"]
    assert (verified["architecture"], verified["inherited"], verified["test"]) == (CHOSEN[1], 10, 12.5)
    for entry in content["devices"]:
        cost = verified["costs"][entry["name"]]
        assert cost["memory_mb"] == {"predicted": pytest.approx(memory[1], rel=1e-12), "measured": None}
        assert cost["latency_ms"]["predicted"] == pytest.approx(entry["rays"][1]["latency_ms"])
    assert set(kept_costs(tmp_path / "table.parquet", "my phone", "latency_ms")) == set(SOME)
    assert not kept_costs(tmp_path / "table.parquet", "my phone", "memory_mb")
    assert not kept_qualities(tmp_path / "table.parquet")
    history = json.loads((tmp_path / "history.json").read_text())
    assert list(history["costs"]) == keys
    assert history["hypervolume"]["values"][-1] == [entry["hypervolume"] for entry in content["devices"]]
    judged = json.loads((tmp_path / "predictor.json").read_text())["devices"]
    assert list(judged["board"]["costs"]) == ["latency_ms"]


def test_where_all_is_known_the_exact_fronts_judge(tmp_path: Path) -> None:
    known = Truth("cifar10", QUALITY, TEXTS, errors(), errors() < 89.9, 90.0, "made up", NETWORK, {"classes": 10})
    made = source(TEXTS, "latency")
    content = composed(made, tmp_path, known)
    assert content["quality_kind"] == "true" and content["task"]["name"] == "cifar10"
    assert content["task"]["notes"][0] == "error: made up" and "knew 1 true errors" in content["task"]["notes"][-1]
    for place, entry in enumerate(content["devices"]):
        kept = errors() < 89.9
        low, high = costs(place)[kept].aminmax()
        assert entry["hypervolume_bounds"]["latency_ms"] == [low.item(), high.item()]
        assert 0 < entry["hypervolume_ratio"] == entry["hypervolume"] / entry["hypervolume_exact"] < 1
    assert kept_qualities(tmp_path / "table.parquet")[TEXTS[7]] == errors()[7].item()
    assert kept_costs(tmp_path / "table.parquet", "board", "latency_ms")[TEXTS[7]] == costs(1)[7].item()
    assert content["verified"] == []
