"""The MetaPredictors that a configuration asks for, one per cost, and their training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.config import PredictorConfig
from modnas_fast.devices.analytic import AnalyticCost, has_formula
from modnas_fast.devices.cost_source import Source
from modnas_fast.predictors.graph_predictor import EMBEDDING_NOISE, Executes, train_graph_predictor
from modnas_fast.predictors.metapredictor import CostModel, train_metapredictor
from modnas_fast.runtime.choices import PREDICTORS
from modnas_fast.runtime.progress import behind
from modnas_fast.spaces import SearchSpace


def make_cost_model(
    options: PredictorConfig,
    space: SearchSpace,
    kinds: Mapping[str, Source],
    network: Callable[[], dict[str, Any]],
    generator: torch.Generator | None,
    executes: Executes,
) -> CostModel:
    """Untrained predictors of all costs, in their order; what has a differentiable formula needs no training.

    Args:
        options: see `make_metapredictor`.
        space: the search space; each cost has an embedding of as many numbers as there are reference networks.
        kinds: by cost, where its numbers come from.
        network: gives what `space.analytic` is told of the networks; called where a cost is exact.
        generator, executes: see `make_metapredictor`.
    """
    width = len(space.references)
    predictors: list[nn.Module] = []
    for name, kind in kinds.items():
        if kind == "exact" and has_formula(space, name):
            predictors.append(AnalyticCost(space, name, **network()))
        else:
            predictors.append(make_metapredictor(options, space, width, generator, executes))
    return CostModel(predictors)


def train_cost_model(
    model: CostModel,
    options: PredictorConfig,
    onehot: Tensor,
    d: Tensor,
    target: Tensor,
    generator: torch.Generator,
    on_step: Callable[[int], None] = lambda done: None,
) -> None:
    """Trains every predictor that learns, then all are frozen.

    Args:
        model: changed in place.
        options: kind, steps and learning rate.
        onehot: networks, [n, N].
        d: embeddings of the T devices, [T, C·E].
        target: their costs in the devices' normalised ranges, [n, T, C]; NaN where unknown.
        generator: source of batches.
        on_step: called with the finished steps of all predictors.
    """
    done = 0
    for column, (predictor, part) in enumerate(zip(model.predictors, d.chunk(len(model.predictors), dim=-1))):
        if not isinstance(predictor, AnalyticCost):
            _train(predictor, options, onehot, part, target[..., column], generator, behind(on_step, done))
            done += options.steps
    model.requires_grad_(False)


def _train(
    predictor: nn.Module,
    options: PredictorConfig,
    onehot: Tensor,
    d: Tensor,
    target: Tensor,
    generator: torch.Generator,
    on_step: Callable[[int], None],
) -> None:
    """The additive kind, which has little to learn, on all rows at once; others on random networks and all devices.

    The mlp learns as published, by the squared error on embeddings as they are.
    """
    steps, rate = options.steps, options.learning_rate
    if options.kind != "additive":
        train_graph_predictor(
            predictor,
            onehot,
            d,
            target,
            steps=steps,
            learning_rate=rate,
            generator=generator,
            on_step=on_step,
            noise=0.0 if options.kind == "mlp" else EMBEDDING_NOISE,
            squared=options.kind == "mlp",
        )
        return
    device, row = (~target.isnan()).T.nonzero(as_tuple=True)
    train_metapredictor(
        predictor, onehot[row], d[device], target[row, device], steps=steps, learning_rate=rate, on_step=on_step
    )


def make_metapredictor(
    options: PredictorConfig,
    space: SearchSpace,
    embedding_width: int,
    generator: torch.Generator | None,
    executes: Executes,
) -> nn.Module:
    """An untrained MetaPredictor of `options.kind`, called with one-hots [..., N] and d [..., E].

    Args:
        options: kind, width of the hidden layer, and keyword arguments of a user's kind.
        space: the search space.
        embedding_width: E.
        generator: source of the initial weights.
        executes: what the measured networks ran, see `GraphMetaPredictor`; only the two graph kinds ask.

    Raises InputError for a user's kind whose module gives other than one cost per row.
    """
    make = PREDICTORS.find(options.kind, options.options)
    if options.kind in ("additive", "detailed", "mlp"):
        return make(space, embedding_width, options.hidden, generator)
    if options.kind in PREDICTORS:
        return make(space, embedding_width, options.hidden, executes=executes, generator=generator)
    predictor = make(space, embedding_width, generator=generator)
    _try(options.kind, predictor, space, embedding_width)
    return predictor


@torch.no_grad()
def _try(kind: str, predictor: Any, space: SearchSpace, embedding_width: int) -> None:
    """Calls a user's module as the search will; a column of costs would broadcast in silence."""
    if not isinstance(predictor, nn.Module):
        raise PREDICTORS.fault(kind, f"gives a {type(predictor).__name__}, no torch.nn.Module")
    onehot = space.sample(3, torch.Generator().manual_seed(0))
    for first, d in ((onehot, torch.zeros(3, embedding_width)), (onehot[:, None], torch.zeros(2, embedding_width))):
        wanted = torch.broadcast_shapes(first.shape[:-1], d.shape[:-1])
        shape = predictor(first, d).shape
        if shape != wanted:
            inputs = f"one-hots {list(first.shape)} and embeddings {list(d.shape)}"
            raise PREDICTORS.fault(kind, f"gives costs {list(shape)} for {inputs}, wanted {list(wanted)}")
