"""Metrics of networks: those that are built in, and what one's own may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from modnas_fast.devices import Metric
from modnas_fast.devices.analytic import ANALYTIC, FORMULAS
from modnas_fast.devices.metric import ExactCosts, find_metric, is_metric
from modnas_fast.runtime.choices import METRICS
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space

space = NB201Space()
NETWORK: dict[str, Any] = {"input_shape": (1, 8, 8), "image_channels": 1, "classes": 10, "channels": 4, "cells": 1}


def convolutions(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    assert not network.training and network(torch.zeros(1, *input_shape)).shape == (1, 10)
    return sum(isinstance(module, nn.Conv2d) for module in network.modules())


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = ModuleType("mine_metrics")
    module.__dict__.update(convolutions=convolutions, depth=Metric("depth", "layers", convolutions))
    monkeypatch.setitem(__import__("sys").modules, "mine_metrics", module)
    yield module


@pytest.fixture
def registered() -> Iterator[None]:
    METRICS.register("width", convolutions)
    yield
    METRICS._registered.clear()


def exact(*names: str, of: NB201Space = space) -> ExactCosts:
    return ExactCosts(of, names, lambda: NETWORK)


def test_what_is_built_in_counts_any_network_as_spaces_do() -> None:
    (architecture,) = space.decode(space.canonical(space.sample(1, torch.Generator().manual_seed(3))))
    network = space.build(architecture, **NETWORK)
    told = space.analytic(space.encode([architecture]), **NETWORK)
    assert list(METRICS) == list(FORMULAS)
    for name, unit in ANALYTIC.items():
        metric = find_metric(name)
        assert (metric.name, metric.unit) == (name, unit)
        assert metric(network, (1, 8, 8)) == told[name].item()
    assert next(network.parameters()).device.type == "cpu"  # as it was


def test_costs_in_the_order_of_the_names(mine: ModuleType) -> None:
    costs, onehot = exact("flops", "mine_metrics:depth", "parameters"), space.canonical(space.sample(5))
    assert costs.units == {"flops": "", "depth": "layers", "parameters": ""}
    found = costs(onehot)
    assert list(found) == ["flops", "depth", "parameters"]
    networks = [space.build(architecture, **NETWORK) for architecture in space.decode(onehot)]
    depths = [sum(isinstance(m, nn.Conv2d) for m in network.modules()) for network in networks]
    assert found["depth"].tolist() == depths and found["depth"].dtype == torch.float64
    assert torch.equal(found["flops"], space.analytic(onehot, **NETWORK)["flops"])
    assert costs(onehot[:0])["depth"].shape == (0,)


def test_a_network_is_built_once_and_random_numbers_stay(mine: ModuleType) -> None:
    calls: list[int] = []
    mine.__dict__["once"] = Metric("once", "", lambda network, input_shape: calls.append(1) or len(calls))
    costs, onehot = exact("mine_metrics:once"), space.encode([space.parse(space.references[0])] * 3)
    torch.manual_seed(5)
    assert costs(onehot)["once"].tolist() == [1, 1, 1] and costs(onehot[:1])["once"].tolist() == [1]
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)


@pytest.mark.usefixtures("registered")
def test_names_of_plain_functions(mine: ModuleType) -> None:
    assert find_metric("mine_metrics:convolutions").name == "convolutions"
    assert find_metric("width").name == "width" and find_metric("width").unit == ""
    assert [is_metric(name) for name in ("width", "memory", "mine_metrics:depth", "latency", "energy")] == [
        True, True, True, False, False,
    ]  # fmt: skip


GIVEN: dict[str, tuple[Callable[..., Any], str]] = {
    "zero": (lambda network, input_shape: 0, "gives 0 for network .*; wanted a positive number"),
    "negative": (lambda network, input_shape: -1.5, "gives -1.5 for network"),
    "endless": (lambda network, input_shape: float("inf"), "gives inf for network"),
    "nan": (lambda network, input_shape: float("nan"), "gives nan for network"),
    "words": (lambda network, input_shape: "7", "gives '7' for network"),
    "nothing": (lambda network, input_shape: None, "gives None for network"),
    "truth": (lambda network, input_shape: True, "gives True for network"),
    "several": (lambda network, input_shape: torch.ones(2, 2), "gives tensor.* for network"),
    "broken": (lambda network, input_shape: {}["x"], "fails for network .*: KeyError: 'x'"),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_what_is_no_positive_number_is_refused(kind: str, mine: ModuleType) -> None:
    function, told = GIVEN[kind]
    mine.__dict__["given"] = Metric(kind, "", function)
    with pytest.raises(InputError, match=f"objectives: 'mine_metrics:given' {told}") as error:
        exact("mine_metrics:given").check_references()
    assert len(str(error.value).splitlines()) == 1


def test_a_tensor_of_one_number_is_a_number(mine: ModuleType) -> None:
    mine.__dict__["scalar"] = Metric("scalar", "", lambda network, input_shape: torch.tensor([2.5]))
    assert exact("mine_metrics:scalar")(space.sample(1))["scalar"].tolist() == [2.5]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda network: 1, "cannot be called with .network, input_shape."),
        (lambda network, input_shape: 1, "is called '<lambda>'; wanted letters, digits and underscores"),
        (Metric("my depth", "", convolutions), "is called 'my depth'; wanted letters"),
        (Metric("flops", "", convolutions), "is called flops, as what is built in"),
        (3, "is a int; wanted a function or class"),
    ],
)
def test_what_is_no_metric_is_refused(made: Any, told: str, mine: ModuleType) -> None:
    mine.__dict__["made"] = made
    with pytest.raises(InputError, match=f"objectives: 'mine_metrics:made' {told}"):
        find_metric("mine_metrics:made")


def test_what_cannot_be_imported_is_refused() -> None:
    with pytest.raises(InputError, match="objectives: 'nowhere:depth' cannot be imported: No module"):
        find_metric("nowhere:depth")
    with pytest.raises(InputError, match="objectives: wanted 'parameters', .* or package.module:object, got 'depth'"):
        find_metric("depth")


def test_references_must_differ(mine: ModuleType) -> None:
    mine.__dict__["same"] = Metric("same", "", lambda network, input_shape: 3)
    exact("flops", "mine_metrics:depth").check_references()
    with pytest.raises(InputError, match="objectives: same is 3 for all reference networks of space nb201; leave it"):
        exact("flops", "mine_metrics:same").check_references()
