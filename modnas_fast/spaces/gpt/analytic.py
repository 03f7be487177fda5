"""Parameters, FLOPs and memory of GPTs: formulas in the choices, from counts of single layers."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modnas_fast.spaces.counting import FLOAT_BYTES, MEGABYTE, Counts, count
from modnas_fast.spaces.gpt.network import GPTNetwork, Shape

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace


class LayerCosts:
    """What a single layer costs for `tokens` tokens, by its options.

    Counted once per combination on networks of one or two layers: a network's layers follow each other, so FLOPs add
    up, and activations of one layer alone live at once, with the positions as long as layers follow.
    """

    def __init__(self, space: GPTSpace, tokens: int) -> None:
        scale = space.scale
        sizes = (len(scale.widths), len(scale.ratios), len(scale.heads), 2)
        flops, last, followed = [], [], []
        for width, ratio, heads, bias in product(scale.widths, scale.ratios, scale.heads, (True, False)):
            alone = _counted(Shape(width, (ratio,), (heads,), bias), scale.head_size, tokens)
            least = Shape(width, (ratio, scale.ratios[0]), (heads, scale.heads[0]), bias)
            flops.append(alone.flops - 2 * tokens * width)  # less the output of a vocabulary of one
            last.append(_activations(alone))
            followed.append(_activations(_counted(least, scale.head_size, tokens)))
        self.flops = torch.tensor(flops, dtype=torch.float64).view(sizes)
        """[widths, ratios, heads, 2]."""
        self.last = torch.tensor(last, dtype=torch.float64).view(sizes)
        """The same, numbers that live at once in the last layer."""
        self.followed = torch.tensor(followed, dtype=torch.float64).view(sizes)
        """The same in a layer that others follow."""


def _counted(shape: Shape, head_size: int, tokens: int) -> Counts:
    with torch.device("meta"):
        network = GPTNetwork(shape, 1, head_size)
    return count(lambda: network, (tokens,), ids=True)


def _activations(counts: Counts) -> float:
    return counts.memory * MEGABYTE / FLOAT_BYTES - counts.parameters


def costs(space: GPTSpace, onehot: Tensor, layer_costs: LayerCosts, tokens: int, vocabulary: int) -> dict[str, Tensor]:
    """`parameters`, `flops` and `memory` (MB), float64 [...] each, of one-hots or relaxed samples [..., N].

    Linear in every choice, but for the memory's maximum over layers; exact for one-hots.
    """
    scale, layers = space.scale, space.scale.layers
    groups = onehot.double().split(space.group_sizes, dim=-1)
    width, depth, bias = groups[0], groups[1], groups[-1]
    ratios, heads = torch.stack(groups[2 : 2 + layers], dim=-2), torch.stack(groups[2 + layers : -1], dim=-2)
    present = space.present(depth)  # [..., L]
    e, e2 = (width @ torch.tensor(scale.widths, dtype=torch.float64).pow(power) for power in (1, 2))
    r = ratios @ torch.tensor(scale.ratios, dtype=torch.float64)  # [..., L]
    h = scale.head_size * (heads @ torch.tensor(scale.heads, dtype=torch.float64))
    wide, wide2 = e[..., None], e2[..., None]
    weights = 4 * wide + 4 * h * wide + 2 * r * wide2
    biases = 3 * h + 2 * wide + r * wide
    per_layer = weights + bias[..., :1] * biases
    parameters = vocabulary * e + 2 * e + (present * per_layer).sum(-1)

    def of_layers(table: Tensor) -> Tensor:
        return torch.einsum("...w,...lr,...lh,...b,wrhb->...l", width, ratios, heads, bias, table)

    flops = (present * of_layers(layer_costs.flops)).sum(-1) + 2 * tokens * vocabulary * e
    behind = torch.cat([present[..., 1:], torch.zeros_like(present[..., :1])], dim=-1)
    alive = behind * of_layers(layer_costs.followed) + (present - behind) * of_layers(layer_costs.last)
    at_most = alive.amax(-1)
    activations = torch.maximum(at_most, tokens * (e + vocabulary))
    return {
        "parameters": parameters,
        "flops": flops,
        "memory": FLOAT_BYTES * (parameters + activations) / MEGABYTE,
    }
