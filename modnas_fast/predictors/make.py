"""The MetaPredictor that a configuration asks for."""

from __future__ import annotations

import torch
from torch import nn

from modnas_fast.config import PredictorConfig
from modnas_fast.predictors.graph_predictor import Executes, GraphMetaPredictor, PlainGraphPredictor
from modnas_fast.predictors.metapredictor import MetaPredictor
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
        options: kind and width of the hidden layer.
        space: the search space.
        embedding_width: E.
        generator: source of the initial weights.
        executes: what the measured networks ran, see `GraphMetaPredictor`; the additive kind always takes `"live"`.
    """
    if options.kind == "additive":
        return MetaPredictor(space, embedding_width, options.hidden, generator)
    kind = GraphMetaPredictor if options.kind == "graph" else PlainGraphPredictor
    return kind(space, embedding_width, options.hidden, executes=executes, generator=generator)
