"""Exact costs alone, and beside those of a table or of this machine."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_tables import SPACE, TEXTS, costs

from modnas_fast.devices.formula_costs import ANYWHERE, Anywhere, WithFormulas
from modnas_fast.devices.metric import ExactCosts
from modnas_fast.devices.table_costs import TableCosts
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.published import CostTable

NETWORK: dict[str, Any] = {"input_shape": (1, 8, 8), "image_channels": 1, "classes": 10, "channels": 4, "cells": 1}
SOME = sorted({*SPACE.references, *TEXTS[::300]})


def exact(*names: str, space: NB201Space = SPACE) -> ExactCosts:
    return ExactCosts(space, names, lambda: NETWORK)


def truth(text: str, name: str) -> float:
    return SPACE.analytic(SPACE.encode([SPACE.parse(text)]), **NETWORK)[name].item()


def on_a_table(*metrics: str) -> WithFormulas:
    """Latency of a table among exact costs, in the order of `metrics`."""
    rows = [TEXTS.index(text) for text in SOME]
    values = {name: costs(place)[rows, None] for place, name in enumerate(("phone", "board"))}
    table = CostTable(tuple(SOME), {"latency": "ms"}, values)
    own = TableCosts(SPACE, table, "own.csv", ["phone"], ["board"], networks=20, heldout=5, seed=0)
    made = WithFormulas(own, metrics, exact(*(name for name in metrics if name != "latency")))
    made.begin(Silent())
    return made


@pytest.mark.parametrize(
    "metrics", [("latency", "memory"), ("memory", "latency", "flops"), ("flops", "memory", "latency")]
)
def test_costs_stand_in_the_order_of_the_objectives(metrics: tuple[str, ...]) -> None:
    source = on_a_table(*metrics)
    assert list(source.metrics) == list(source.kinds) == list(metrics) == list(source.devices[0].metrics)
    assert source.metrics["memory"] == "MB" and source.metrics["latency"] == "ms"
    assert source.kinds["latency"] == "tabulated" and source.kinds["memory"] == "exact"
    place, text = metrics.index("latency"), next(text for text in SOME if text not in SPACE.references)
    for values in (source.known.on("phone")[text], source.listed("phone", [text])[0].tolist()):
        for name, value in zip(metrics, values, strict=True):
            known = costs(0)[TEXTS.index(text)].item() if name == "latency" else truth(text, name)
            assert value == pytest.approx(known, rel=1e-12)
    absent = next(text for text in TEXTS if text not in SOME)
    (listed,) = source.listed("board", [absent])
    assert listed.isnan().tolist() == [name == "latency" for name in metrics]
    judging = source.judging("board")
    assert set(judging) == set(SOME) - set(SPACE.references)
    assert judging[text][place] == costs(1)[TEXTS.index(text)].item()


def test_the_rest_is_the_sources_own() -> None:
    source = on_a_table("memory", "latency")
    own = source._source
    assert source.held_out == own.held_out and source.tabulated == own.tabulated and source.state() == own.state()
    assert source.notes == [*own.notes, "memory: exact, counted from the networks"]
    onehot, target = source.training_table()
    assert target.shape == (len(SOME) - 5, 1, 2) and target.isfinite().all() and len(onehot) == len(target)
    again = on_a_table("memory", "latency")
    again.restore(source.state())
    assert again.devices == source.devices


def test_each_network_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source, counted = on_a_table("latency", "memory"), []
    monkeypatch.setattr(source, "_costs", lambda onehot: counted.append(len(onehot)) or exact("memory")(onehot))
    _ = source.known, source.known, source.listed("board", SOME)
    assert counted == [len(SOME)]


def test_without_other_costs_there_is_one_device() -> None:
    source = WithFormulas(Anywhere(SPACE), ["parameters", "memory"], exact("parameters", "memory"))
    source.begin(Silent())
    (device,) = source.devices
    assert (device.name, device.split, device.metrics) == (ANYWHERE, "search", {"parameters": "", "memory": "MB"})
    assert source.complete and not source.limit and source.judging(ANYWHERE) == {}
    listed = source.listed(ANYWHERE, TEXTS[:100])
    assert listed.shape == (100, 2) and listed.isfinite().all()
    assert source.listed(ANYWHERE, []).shape == (0, 2)
    assert ANYWHERE in source.notes[0] and source.notes[1] == "parameters, memory: exact, counted from the networks"
    assert len(source.training_table()[0]) == 10


def test_networks_for_predictors_are_drawn_from_the_seed() -> None:
    drawn = [Anywhere(SPACE, 30, seed).known.texts for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and 35 <= len(drawn[0]) <= 40
    assert drawn[0][:10] == Anywhere(SPACE).references == Anywhere(SPACE).known.texts


def test_references_that_cost_the_same_are_refused_before_anything_is_measured() -> None:
    class Alike(NB201Space):
        name = "alike"
        references = NB201Space.references[:1] * 10

    class Measured(Anywhere):
        def begin(self, reporter: object) -> None:
            raise AssertionError("measured")

    source = WithFormulas(Measured(Alike()), ["flops"], exact("flops", space=Alike()))
    with pytest.raises(InputError, match="objectives: flops is .* for all reference networks of space alike"):
        source.begin(Silent())
