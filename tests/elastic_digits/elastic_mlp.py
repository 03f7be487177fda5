"""Perceptrons of elastic depth and width, with shared weights: a search space of another package."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from modnas_fast.config import SpaceKeys
from modnas_fast.errors import InputError
from modnas_fast.spaces import Architecture, Choice, SearchSpace
from modnas_fast.supernets import Supernet

DEPTHS = (1, 2, 3)
WIDTHS = (4, 8, 16, 32)
#: entry (d, l): whether a network of DEPTHS[d] layers has layer l
HAS_LAYER = torch.tensor([[float(layer < depth) for layer in range(max(DEPTHS))] for depth in DEPTHS])


class Keys(SpaceKeys):
    """The keys of `space` for this space."""

    of_supernet = ("dropout",)

    multiple: Annotated[int, Field(ge=1)] = 1
    """By which all widths are multiplied."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the shared weights' hidden units."""


class ElasticMLP(SearchSpace):
    """One to three hidden layers, each of four widths; strings such as `8-32`, one number per layer."""

    name = "elastic-mlp"
    keys = Keys
    choices = (
        Choice("depth", tuple(f"{depth} layers" for depth in DEPTHS)),
        *(Choice(f"width_{layer}", tuple(map(str, WIDTHS))) for layer in range(max(DEPTHS))),
    )
    references = ("4", "8", "16", "32", "4-4", "16-8", "8-16", "32-32", "8-8-8", "32-32-32")

    def format(self, indices: Sequence[int]) -> str:
        self._check_indices(indices)
        depth, *widths = indices
        return "-".join(str(WIDTHS[width]) for width in widths[: DEPTHS[depth]])

    def parse(self, text: str) -> Architecture:
        known = {str(width): index for index, width in enumerate(WIDTHS)}
        parts = text.split("-")
        if len(parts) not in DEPTHS or not all(part in known for part in parts):
            raise InputError(f"architecture: wanted one to three widths of {WIDTHS} such as 8-32, got {text!r}")
        absent = [0] * (max(DEPTHS) - len(parts))
        return self.architecture([DEPTHS.index(len(parts)), *(known[part] for part in parts), *absent])

    def canonical(self, onehot: Tensor) -> Tensor:
        """Layers beyond the depth have the smallest width."""
        depth, *widths = onehot.split(self.group_sizes, dim=-1)
        present = depth @ HAS_LAYER.to(onehot)
        first = torch.eye(len(WIDTHS))[0].to(onehot)
        kept = [torch.lerp(first, width, present[..., i, None]) for i, width in enumerate(widths)]
        return torch.cat([depth, *kept], dim=-1)

    def build(
        self, architecture: Architecture, *, input_shape: Sequence[int], classes: int, multiple: int = 1, **_: Any
    ) -> nn.Module:
        depth, *widths = architecture.indices
        sizes = [math.prod(input_shape), *(multiple * WIDTHS[width] for width in widths[: DEPTHS[depth]])]
        layers = [nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in itertools.pairwise(sizes)]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], classes))

    def supernet(
        self, *, input_shape: Sequence[int], classes: int, multiple: int = 1, dropout: float = 0.0, **_: Any
    ) -> Supernet:
        return SharedMLP(math.prod(input_shape), classes, multiple, dropout)


class SharedMLP(Supernet):
    """A narrow layer is the first units of the widest; a shallow network leaves layers out."""

    def __init__(self, inputs: int, classes: int, multiple: int, dropout: float) -> None:
        super().__init__()
        widest = multiple * max(WIDTHS)
        self._multiple, self._dropout = multiple, dropout
        self.layers = nn.ModuleList(nn.Linear(size, widest) for size in (inputs, *[widest] * (max(DEPTHS) - 1)))
        self.last = nn.Linear(widest, classes)

    def predict(self, x: Tensor, onehot: Tensor, **_: Any) -> Tensor:
        """Logits [S, B, classes] of S samples [S, N], differentiable in both."""
        depth, *widths = onehot.to(x).split((len(DEPTHS), *[len(WIDTHS)] * max(DEPTHS)), dim=-1)
        present = depth @ HAS_LAYER.to(x)
        units = torch.arange(self.last.in_features, device=x.device)
        masks = torch.stack([(units < self._multiple * width).to(x) for width in WIDTHS])
        state = x.flatten(1).expand(len(onehot), -1, -1)
        for number, (layer, width) in enumerate(zip(self.layers, widths)):
            hidden = layer(state).relu() * (width @ masks)[:, None]
            hidden = nn.functional.dropout(hidden, self._dropout, self.training)
            share = present[:, number, None, None]
            state = hidden if number == 0 else share * hidden + (1 - share) * state
        outputs: Tensor = self.last(state)
        return outputs
