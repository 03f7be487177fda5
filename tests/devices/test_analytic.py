"""Analytic costs called like a MetaPredictor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stand_in_gpu import GPU, stand_in_gpu

from modnas_fast.devices.analytic import ANALYTIC, AnalyticCost, reference_range
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space

space = NB201Space()
NETWORK: dict[str, Any] = {"input_shape": (1, 8, 8), "image_channels": 1, "classes": 10, "channels": 4, "cells": 1}


def test_names_are_those_that_spaces_tell() -> None:
    assert list(ANALYTIC) == list(space.analytic(space.sample(1), **NETWORK))


@pytest.mark.parametrize("name", ANALYTIC)
def test_normalised_by_the_references(name: str) -> None:
    cost, onehot = AnalyticCost(space, name, **NETWORK), space.sample(40, torch.Generator().manual_seed(0))
    references = space.encode([space.parse(text) for text in space.references])
    d = torch.rand(10, 20)
    normal = cost(references, d)
    assert (normal.min(), normal.max()) == (0, 1) and normal.dtype == torch.float32
    values = space.analytic(onehot, **NETWORK)[name]
    again = cost.low + (cost.high - cost.low) * cost(onehot.double(), d[:1])
    torch.testing.assert_close(again, values, rtol=1e-12, atol=0)
    assert (cost.low, cost.high) == reference_range(space, name, **NETWORK) and not list(cost.parameters())


def test_shapes_and_gradients_are_those_of_a_metapredictor() -> None:
    predictor, cost = MetaPredictor(space, 10), AnalyticCost(space, "flops", **NETWORK)
    for onehots, devices in [((6,), (6,)), ((2, 3), (2, 1)), ((4, 1), (5,)), ((), (5,)), ((7,), ())]:
        onehot, d = torch.rand(*onehots, 30), torch.rand(*devices, 10)
        assert cost(onehot, d).shape == predictor(onehot, d).shape
    sample = space.sample(3, torch.Generator().manual_seed(1)).requires_grad_()
    gradient = torch.autograd.grad(cost(sample, torch.rand(3, 10)).sum(), sample)[0]
    assert gradient.dtype == torch.float32 and gradient.abs().sum() > 0


def test_beside_predictors_of_other_costs() -> None:
    model = CostModel([MetaPredictor(space, 10), AnalyticCost(space, "parameters", **NETWORK)])
    costs = model.on_devices(space.sample(9), torch.rand(4, 20))
    assert costs.shape == (9, 4, 2) and torch.equal(costs[:, 0, 1], costs[:, 3, 1])


class Opaque(NB201Space):
    name = "opaque"
    analytic_is_differentiable = False


class Alike(NB201Space):
    name = "alike"
    references = NB201Space.references[:1] * 10


@pytest.mark.parametrize(
    ("made", "name", "told"),
    [
        (NB201Space, "latency", "analytic cost: wanted one of parameters, flops, memory, cache_memory, got 'latency'"),
        (Opaque, "flops", "analytic cost: space opaque has no formula of flops; train a predictor of it"),
        (NB201Space, "cache_memory", "objectives: networks of space nb201 have no cache_memory; leave it out"),
        (Alike, "flops", "objectives: flops is .* for all reference networks of space alike; leave it out"),
    ],
)
def test_what_cannot_be_is_refused(made: type[NB201Space], name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        AnalyticCost(made(), name, **NETWORK)


@pytest.mark.parametrize("name", ANALYTIC)
def test_nothing_waits_for_a_gpu(name: str) -> None:
    cost, onehot, d = AnalyticCost(space, name, **NETWORK), space.sample(4), torch.rand(4, 10)
    with stand_in_gpu(may_wait=True):
        onehot, d = onehot.to(GPU).requires_grad_(), d.to(GPU)
    with stand_in_gpu():
        value = cost(onehot, d)
        (gradient,) = torch.autograd.grad(value.sum(), onehot)
    assert value.device == gradient.device == GPU and value.shape == (4,)
