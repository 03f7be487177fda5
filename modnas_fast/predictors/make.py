"""The MetaPredictor that a configuration asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modnas_fast.config import PredictorConfig
from modnas_fast.predictors.graph_predictor import Executes
from modnas_fast.runtime.choices import PREDICTORS
from modnas_fast.spaces import SearchSpace


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
    if options.kind == "additive":
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
