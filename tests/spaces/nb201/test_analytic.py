"""Formulas of parameters, FLOPs and memory against counting the networks one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from modnas_fast.spaces import NB201Space, SearchSpace

space = NB201Space()
COSTS = ("parameters", "flops", "memory")
#: with peaks in cells, in the stem, between stages, and in the last stage
NETWORKS: list[dict[str, Any]] = [
    {"input_shape": (1, 8, 8), "channels": 4, "cells": 1, "reduction": "pool"},
    {"input_shape": (3, 9, 13), "channels": 5, "cells": 2, "reduction": "residual"},
    {"input_shape": (3, 32, 32), "channels": 16, "cells": 1},
    {"input_shape": (1, 1, 3), "channels": 1, "cells": 1, "reduction": "pool"},
    {"input_shape": (20, 6, 6), "channels": 2, "cells": 1, "reduction": "residual"},
    {"input_shape": (1, 5, 5), "channels": 3, "cells": 1, "reduction": "residual"},
]


def arguments(network: dict[str, Any]) -> dict[str, Any]:
    return {"image_channels": network["input_shape"][0], "classes": 7, **network}


def counted(onehot: Tensor, network: dict[str, Any]) -> dict[str, Tensor]:
    return SearchSpace.analytic(space, onehot, **arguments(network))


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_formulas_are_equal_to_counting(network: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(len(str(network)))
    special = space.onehot(torch.tensor([[operation] * 6 for operation in range(5)] + [[0, 0, 0, 1, 0, 0]]))
    onehot = torch.cat([special, space.sample(24, generator)])
    formula, truth = space.analytic(onehot, **arguments(network)), counted(onehot, network)
    for cost in COSTS:
        assert formula[cost].dtype == truth[cost].dtype == torch.float64
    assert torch.equal(formula["parameters"], truth["parameters"])
    assert torch.equal(formula["flops"], truth["flops"])
    # bytes are whole numbers; their quotient by 10⁶ may round otherwise
    assert torch.equal((formula["memory"] * 1e6).round(), (truth["memory"] * 1e6).round())
    torch.testing.assert_close(formula["memory"], truth["memory"], rtol=1e-12, atol=0)


def test_published_counts() -> None:
    """NAS-Bench-201 tells 1.531546 M parameters and 220.12 M multiplications of the largest network on CIFAR-10."""
    largest = space.encode([space.architecture([3] * 6)])
    costs = space.analytic(largest, input_shape=(3, 32, 32), image_channels=3, classes=10, channels=16, cells=5)
    assert costs["parameters"].item() == 1_531_546 and costs["flops"].item() / 2 == pytest.approx(220.12e6, rel=1e-5)


def test_memory_tells_cells_apart() -> None:
    """While a cell adds up, its states wait: a skip needs none, a chain of pools two, a full cell of convolutions five.

    In the full cell: nodes 0 to 2 for the edges to come, the sum so far, and a convolution's input and output.
    """
    state = 4 * 4 * 8 * 8
    cells = torch.tensor([[4, 0, 4, 0, 0, 4], [3, 3, 3, 3, 3, 3]])
    costs = space.analytic(space.onehot(cells), **arguments(NETWORKS[0]))
    activations = costs["memory"] * 1e6 - 4 * costs["parameters"]
    assert (activations / state).round(decimals=6).tolist() == [2, 5]


def test_leading_axes_formats_and_dead_edges() -> None:
    onehot = space.sample(6, torch.Generator().manual_seed(1))
    flat = space.analytic(onehot, **arguments(NETWORKS[0]))
    for cost in COSTS:
        shaped = space.analytic(onehot.view(2, 3, 30), **arguments(NETWORKS[0]))[cost]
        assert torch.equal(shaped, flat[cost].view(2, 3))
        assert torch.equal(space.analytic(space.canonical(onehot), **arguments(NETWORKS[0]))[cost], flat[cost])
        assert space.analytic(onehot[0], **arguments(NETWORKS[0]))[cost].shape == ()


@pytest.mark.parametrize("cost", COSTS)
def test_gradients_of_relaxed_samples(cost: str) -> None:
    logits = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    soft = logits.softmax(-1).flatten(1).requires_grad_()
    network = arguments({"input_shape": (1, 2, 2), "channels": 1, "cells": 1, "reduction": "pool"})
    assert torch.autograd.gradcheck(lambda sample: space.analytic(sample, **network)[cost], (soft,), rtol=1e-5)


def test_gradient_of_memory_is_the_effect_of_one_change() -> None:
    network = arguments(NETWORKS[0])
    onehot = space.sample(1, torch.Generator().manual_seed(3)).double().requires_grad_()

    def activations(sample: Tensor) -> Tensor:
        costs = space.analytic(sample, **network)
        return costs["memory"] * 1e6 - 4 * costs["parameters"]

    value = activations(onehot)
    gradient = torch.autograd.grad(value, onehot)[0].view(6, 5)
    indices = space.indices(onehot)[0]
    for edge in range(6):
        for operation in range(5):
            changed = indices.clone()
            changed[edge] = operation
            effect = (activations(space.onehot(changed).double()) - value).item()
            assert (gradient[edge, operation] - gradient[edge, indices[edge]]).item() == pytest.approx(effect, abs=1e-6)
