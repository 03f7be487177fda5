"""How well predictors do: by networks that judge them, on each device and of each cost."""

from __future__ import annotations

import pytest
import torch
from made_up_tables import SPACE, TEXTS, costs
from torch import Tensor, nn

from modnas_fast.devices.formula_costs import WithFormulas
from modnas_fast.devices.metric import ExactCosts
from modnas_fast.devices.table_costs import TableCosts
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.runs.judging import SHOWN_NETWORKS, predictor_entries
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces.published import CostTable

OTHERS = [text for text in TEXTS if text not in SPACE.references]
SHARES = {"latency": 1.1, "energy": 0.8}


class Share(nn.Module):
    """The made-up costs of device 0 in its normalised range, times a share in its unit."""

    def __init__(self, metric: str) -> None:
        super().__init__()
        values = costs(0, metric)
        known = values[[TEXTS.index(text) for text in SPACE.references]]
        self.low, self.high = known.min(), known.max()
        self.known, self.share = dict(zip(TEXTS, values.tolist())), SHARES[metric]

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        flat = onehot.reshape(-1, onehot.shape[-1])
        values = torch.tensor([self.known[a.text] for a in SPACE.decode(flat)], dtype=torch.float64)
        normal = (self.share * values - self.low) / (self.high - self.low)
        return normal.reshape(onehot.shape[:-1]).expand(torch.broadcast_shapes(onehot.shape[:-1], d.shape[:-1])).float()


def source(networks: int, metrics: tuple[str, ...] = ("latency", "energy")) -> TableCosts:
    """One device searched, and one that is the same but unseen."""
    texts = [*SPACE.references, *OTHERS[:: len(OTHERS) // networks][: networks - 10]]
    rows = [TEXTS.index(text) for text in texts]
    units = {"latency": "ms", "energy": "mJ"}
    values = torch.stack([costs(0, metric)[rows] for metric in metrics], dim=-1)
    table = CostTable(tuple(texts), {m: units[m] for m in metrics}, {"phone": values, "twin": values})
    made = TableCosts(SPACE, table, "own.csv", ["phone"], ["twin"], networks=20, heldout=24, seed=0)
    made.begin(Silent())
    return made


@pytest.mark.parametrize("metrics", [("latency", "energy"), ("energy", "latency")])
def test_each_cost_is_judged_in_its_unit(metrics: tuple[str, ...]) -> None:
    made = source(60, metrics)
    found = predictor_entries(made, made.devices, CostModel([Share(metric) for metric in metrics]), seed=0)
    assert [(name, entry["split"]) for name, entry in found.items()] == [("phone", "search"), ("twin", "unseen")]
    for name, networks in (("phone", 12), ("twin", 50)):
        entry = found[name]["costs"]
        assert list(entry) == [{"latency": "latency_ms", "energy": "energy_mj"}[metric] for metric in metrics]
        for metric, quality in zip(metrics, entry.values()):
            assert quality["networks"] == len(quality["architectures"]) == networks
            assert set(quality["architectures"]) == set(made.judging(name))
            truth = [costs(0, metric)[TEXTS.index(text)].item() for text in quality["architectures"]]
            assert quality["measured"] == truth and quality["judged"] == [min(truth), max(truth)]
            assert quality["predicted"] == pytest.approx([SHARES[metric] * value for value in truth], rel=1e-4)
            assert quality["mape"] == pytest.approx(abs(SHARES[metric] - 1), rel=1e-3)
            assert quality["spearman"] == pytest.approx(1, abs=1e-3)


def test_of_many_networks_a_sample_is_shown_and_all_judge() -> None:
    made = source(400, ("latency",))
    model = CostModel([Share("latency")])
    first, again, other = (predictor_entries(made, made.devices, model, seed)["twin"]["costs"] for seed in (0, 0, 1))
    quality = first["latency_ms"]
    assert quality["networks"] == 390 and len(quality["predicted"]) == SHOWN_NETWORKS == 200
    assert quality["judged"][1] >= max(quality["measured"])
    assert first == again and first["latency_ms"]["architectures"] != other["latency_ms"]["architectures"]


def test_where_nothing_judges_nothing_is_said() -> None:
    made = source(60, ("latency",))
    made.judging = lambda device: {}  # type: ignore[method-assign]
    quality = predictor_entries(made, made.devices, CostModel([Share("latency")]), 0)["twin"]["costs"]["latency_ms"]
    assert quality["networks"] == 0 and quality["judged"] == quality["predicted"] == []
    assert quality["spearman"] is None and quality["mape"] is None


def test_exact_costs_need_no_judgement() -> None:
    network = {"input_shape": (1, 8, 8), "image_channels": 1, "classes": 10, "channels": 4, "cells": 1}
    own = source(60, ("latency",))
    made = WithFormulas(own, ["flops", "latency"], ExactCosts(SPACE, ["flops"], lambda: network))
    model = CostModel([Share("energy"), Share("latency")])  # what is predicted of flops is not looked at
    found = predictor_entries(made, made.devices, model, 0)
    assert found == predictor_entries(own, own.devices, CostModel([Share("latency")]), 0)
