"""Costs that are counted rather than measured: the same on every device, and exact."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import SearchSpace

#: name and unit of what `SearchSpace.analytic` tells
ANALYTIC = {"parameters": "", "flops": "", "memory": "MB"}
#: with what it tells besides of networks that generate token by token
FORMULAS = {**ANALYTIC, "cache_memory": "MB"}


def has_formula(space: SearchSpace, name: str) -> bool:
    """Whether a search follows the gradient of an exact cost itself; a predictor is trained of any other."""
    return name in FORMULAS and space.analytic_is_differentiable


class AnalyticCost(nn.Module):
    """An analytic cost by its formula, in the place of a MetaPredictor: exact, with nothing to train.

    Args:
        space: one whose `analytic` is differentiable.
        name: one of `FORMULAS`.
        network: keyword arguments of `space.analytic`: those of `space.build`, and `input_shape`.

    Called with one-hots or relaxed samples [..., N] and d [..., E], of which only the leading axes matter; returns
    costs [...] in the format of the one-hots, in which 0 and 1 are the extremes of the space's reference networks.

    Raises InputError for another name, for a space without formulas, and where all references cost the same.

    >>> from modnas_fast.spaces import NB201Space
    >>> space = NB201Space()
    >>> cost = AnalyticCost(space, "flops", input_shape=(1, 8, 8), image_channels=1, classes=10, channels=4, cells=1)
    >>> references = space.encode([space.parse(text) for text in space.references])
    >>> cost(references, torch.rand(3, 1, 20)).amax(-1)
    tensor([1., 1., 1.])
    """

    def __init__(self, space: SearchSpace, name: str, **network: Any) -> None:
        super().__init__()
        if name not in FORMULAS:
            raise InputError(f"analytic cost: wanted one of {', '.join(FORMULAS)}, got {name!r}")
        if not space.analytic_is_differentiable:
            raise InputError(f"analytic cost: space {space.name} has no formula of {name}; train a predictor of it")
        self._space, self._name, self._network = space, name, network
        #: values of the cheapest and the dearest reference network, in the cost's unit
        self.low, self.high = reference_range(space, name, **network)

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        value = self._space.analytic(onehot, **self._network)[self._name]
        cost = ((value - self.low) / (self.high - self.low)).to(onehot.dtype)
        return cost.expand(torch.broadcast_shapes(cost.shape, d.shape[:-1]))


def told(space: SearchSpace, name: str, costs: dict[str, Tensor]) -> Tensor:
    """The cost of that name among those that a space tells. Raises InputError where it is not there."""
    if name not in costs:
        raise InputError(f"objectives: networks of space {space.name} have no {name}; leave it out")
    return costs[name]


def reference_range(space: SearchSpace, name: str, **network: Any) -> tuple[float, float]:
    """The lowest and the highest analytic cost of the space's reference networks, in the cost's unit.

    Raises InputError where they are one, and where there is no such cost.
    """
    references = space.encode([space.parse(text) for text in space.references])
    values = told(space, name, space.analytic(references, **network))
    low, high = values.aminmax()
    if low == high:
        raise InputError(
            f"objectives: {name} is {low:g} for all reference networks of space {space.name}; leave it out"
        )
    return low.item(), high.item()
