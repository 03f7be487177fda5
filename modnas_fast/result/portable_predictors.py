"""Predictors as products, features of a network times prices of a device, which other programs can form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modnas_fast.devices.cost_source import Source
from modnas_fast.predictors.graph_predictor import GraphMetaPredictor
from modnas_fast.predictors.metapredictor import DetailedMetaPredictor, MetaPredictor
from modnas_fast.result.answers_file import Array
from modnas_fast.result.queries_reference import ReferenceQueries
from modnas_fast.runtime.objective import Objective


@dataclass(frozen=True)
class Priced:
    """One predictor: cost = features · (prices @ [1, c, silu(weight @ c + bias)]) with c = 2·embedding − 1."""

    #: float32 [n, W] of one-hots [n, N]
    features: Callable[[Tensor], Tensor]
    #: `weight` [H, E], `bias` [H] and `prices` [W, 1 + E + H], float32
    prices: dict[str, Array]


def priced(
    costs: Sequence[Objective], kinds: Mapping[str, Source], queries: ReferenceQueries
) -> tuple[dict[str, Priced], str | None]:
    """The predictors of all costs that are not exact, by key; and why there are none where one is no product."""
    found = {}
    for cost, predictor in zip(costs, queries.predictors.predictors):
        if kinds[cost.key] == "exact":
            continue
        if isinstance(predictor, MetaPredictor) and type(predictor) in (MetaPredictor, DetailedMetaPredictor):
            found[cost.key] = _of_counts(predictor)
        elif type(predictor) is GraphMetaPredictor:
            found[cost.key] = _of_graph(predictor)
        else:
            return {}, f"its predictor of {cost.key} is no product of a network's features and a device's prices"
    return found, None


def _of_counts(predictor: MetaPredictor) -> Priced:
    first, last = linears(predictor.costs)

    def features(onehot: Tensor) -> Tensor:
        counts = predictor.counts(onehot)
        return torch.cat([counts, torch.ones_like(counts[:, :1])], dim=-1)

    return _with_hidden(features, _learned(first, last), first)


def _of_graph(predictor: GraphMetaPredictor) -> Priced:
    first, last = linears(predictor.device)
    learned = _learned(first, last)
    own = torch.eye(1 + first.in_features, learned.shape[1])  # the price 1, and the embedding itself
    return _with_hidden(predictor.features, torch.cat([own, learned]), first)


def linears(layers: nn.Sequential) -> list[nn.Linear]:
    """The linear layers in their order."""
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _learned(first: nn.Linear, last: nn.Linear) -> Tensor:
    """The rows of `prices` that two layers stand for."""
    return torch.cat([last.bias[:, None], torch.zeros(last.out_features, first.in_features), last.weight], dim=-1)


def _with_hidden(features: Callable[[Tensor], Tensor], prices: Tensor, hidden: nn.Linear) -> Priced:
    arrays = {"weight": hidden.weight, "bias": hidden.bias, "prices": prices}
    return Priced(features, {name: tensor.detach().numpy() for name, tensor in arrays.items()})
