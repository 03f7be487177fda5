"""Elastic twins of torch layers that have weights."""

from __future__ import annotations

import torch
from torch import nn

from modnas_fast.spaces.module import layers
from modnas_fast.spaces.module.width import Size


def adopted(layer: nn.Module, sizes: tuple[Size, ...]) -> nn.Module:
    """A layer of `modnas_fast.elastic` of these sizes, with the weights of a torch layer as wide as the largest.

    Args:
        layer: of one of the kinds that `twin_sizes` knows.
        sizes: as many as that tells.
    """
    with torch.device("meta"):  # its own weights would draw random numbers
        made = _made(layer, sizes)
    made.load_state_dict(layer.state_dict(), assign=True)
    for own, known in zip(made.parameters(), layer.parameters()):
        own.requires_grad_(known.requires_grad)
    return made.train(layer.training)


def _made(layer: nn.Module, sizes: tuple[Size, ...]) -> nn.Module:
    first, last = sizes[0], sizes[-1]
    if isinstance(layer, nn.Linear):
        return layers.Linear(first, last, layer.bias is not None)
    if isinstance(layer, nn.Conv2d):
        how = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "padding_mode")}
        groups = 1 if layer.groups == 1 else first
        return layers.Conv2d(first, last, layer.kernel_size, groups, bias=layer.bias is not None, **how)  # type: ignore[arg-type]
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        kind = layers.BatchNorm1d if isinstance(layer, nn.BatchNorm1d) else layers.BatchNorm2d
        return kind(first, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    if isinstance(layer, nn.LayerNorm):
        return layers.LayerNorm(first, layer.eps, layer.elementwise_affine, layer.bias is not None)
    if isinstance(layer, nn.RMSNorm):
        return layers.RMSNorm(first, layer.eps, layer.elementwise_affine)
    if isinstance(layer, nn.Embedding):
        return layers.Embedding(layer.num_embeddings, first, layer.padding_idx)
    assert isinstance(layer, nn.MultiheadAttention)
    bias = layer.in_proj_bias is not None
    return layers.MultiheadAttention(first, layer.num_heads, layer.dropout, bias, layer.batch_first)
