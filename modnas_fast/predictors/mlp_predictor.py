"""The MLP MetaPredictor θ of HW-GPT-Bench: one-hot and device embedding side by side into hidden layers."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from modnas_fast.predictors.metapredictor import seeded_linear
from modnas_fast.spaces import SearchSpace

#: hidden layers
LAYERS = 4


class MLPMetaPredictor(nn.Module):
    """p(a, d) = MLP([one-hot of a, d]), with four hidden layers and ReLU between them.

    MODNAS's predictor of GPTs has 256 channels in each, and learns by the mean squared error with Adam at 1e-4. It
    knows nothing of what costs are made of: with some hundred measurements per device it orders networks of one width
    far worse than `DetailedMetaPredictor`.

    Args:
        space: the search space.
        embedding_width: E.
        hidden: channels of the hidden layers.
        generator: source of the initial weights.

    Called with one-hots or relaxed samples [..., N] and d [..., E], whose leading axes broadcast; returns costs [...]
    in which 0 and 1 are the extremes of the device's reference networks. Choices without influence do not count.
    """

    def __init__(
        self,
        space: SearchSpace,
        embedding_width: int,
        hidden: int = 256,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._space = space
        sizes = [space.num_options + embedding_width, *[hidden] * LAYERS]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [seeded_linear(inputs, outputs, generator, scale=2**0.5), nn.ReLU()]
        self.layers = nn.Sequential(*layers, seeded_linear(hidden, 1, generator))

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(onehot.shape[:-1], d.shape[:-1])
        parts = (self._space.canonical(onehot), 2 * d - 1)
        joined = torch.cat([part.expand(*shape, part.shape[-1]) for part in parts], dim=-1)
        return self.layers(joined).squeeze(-1)
