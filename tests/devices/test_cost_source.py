"""What all sources of costs share: known costs, references, devices and what predictors learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from modnas_fast.devices import Device
from modnas_fast.devices.cost_source import CostSource, KnownCosts, Values
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.spaces import NB201Space

space = NB201Space()
OTHERS = [space.architecture([3, 3, k, 0, 3, 3]).text for k in range(4)]


class Written(CostSource):
    """Two devices searched and one unseen, with two costs; the devices know different networks."""

    executes = "written"

    def __init__(self, executes: Any = "written") -> None:
        self.space, self.executes = space, executes
        self.metrics, self.kinds = {"energy": "mJ", "latency": "ms"}, {"energy": "tabulated", "latency": "tabulated"}
        self.splits = {"phone": "search", "my board": "search", "server": "unseen"}
        self._known = KnownCosts(self.splits)
        for number, device in enumerate(self.splits):
            for place, text in enumerate(self.references):
                self._known.add(device, text, (10.0 + place + number, 1.0 + place))
        self._known.add("phone", OTHERS[0], (30.0, 3.0))
        self._known.add("my board", OTHERS[1], (31.0, 4.0))
        self._known.add("my board", OTHERS[2], (32.0, 5.0))
        self._known.add("server", OTHERS[3], (33.0, 6.0))

    def begin(self, reporter: Reporter) -> None: ...

    @property
    def known(self) -> KnownCosts:
        return self._known

    @property
    def held_out(self) -> frozenset[str]:
        return frozenset({OTHERS[2]})

    def judging(self, device: str) -> Mapping[str, Values]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


def test_known_costs_are_normalised_per_device_and_metric() -> None:
    known = KnownCosts(["a", "b"])
    known.add("a", "x", (2.0, 30.0))
    known.add("b", "x", (5.0, 10.0))
    known.add("b", "y", (4.0, 40.0))
    units = {"latency": "ms", "energy": "mJ"}
    a = Device("a", (), units, ranges={"latency": (1.0, 3.0), "energy": (10.0, 50.0)})
    b = Device("b", (), units, ranges={"latency": (4.0, 5.0), "energy": (10.0, 40.0)})
    assert known.texts == ["x", "y"]
    found = known.normalized([a, b], ["y", "x"])
    assert found.dtype == torch.float32 and found.shape == (2, 2, 2)
    assert found[0, 0].isnan().all() and found[0, 1].tolist() == [0, 1]
    assert found[1].tolist() == [[0.5, 0.5], [1, 0]]
    assert known.normalized([b, a], []).shape == (0, 2, 2)


def test_devices_in_the_order_of_the_splits_with_costs_in_that_of_the_objectives() -> None:
    source = Written()
    assert [(d.name, d.split) for d in source.devices] == [
        ("phone", "search"), ("my board", "search"), ("server", "unseen"),
    ]  # fmt: skip
    assert source.search_names == ["phone", "my board"] == [d.name for d in source.search_devices]
    board = source.devices[1]
    assert list(board.metrics) == ["energy", "latency"]
    assert board.ranges == {"energy": (11.0, 20.0), "latency": (1.0, 10.0)}
    assert board.embedding == pytest.approx([k / 9 for k in range(10)] * 2)


def test_predictors_learn_neither_from_held_out_networks_nor_from_unseen_devices() -> None:
    source = Written()
    onehot, target = source.training_table()
    texts = [architecture.text for architecture in space.decode(onehot)]
    assert texts == [*source.references, *OTHERS[:2]] and target.shape == (12, 2, 2)
    assert target[:10].isfinite().all()
    assert target[10].isnan().all(-1).tolist() == [False, True]
    assert target[11].isnan().all(-1).tolist() == [True, False]


def test_references_are_those_that_ran() -> None:
    assert Written().references == list(space.references)
    canonical = space.decode(space.canonical(space.encode([space.parse(text) for text in space.references])))
    live = Written("live").references
    assert live == [architecture.text for architecture in canonical] and len(live) == 10


def test_what_a_source_need_not_tell() -> None:
    source = Written()
    source.measure(space.sample(2))
    source.finish([], Silent())
    assert source.listed("phone", OTHERS).shape == (4, 2) and source.listed("phone", OTHERS).isnan().all()
    assert (source.found("phone"), source.noise("phone"), source.notes, source.limit) == ({}, {}, [], 0)
    assert not source.complete and not source.tabulated
