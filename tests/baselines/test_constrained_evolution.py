"""Evolution within a budget: what it may ask for, and that it finds what is best."""

from __future__ import annotations

import torch
from torch import Tensor

from modnas_fast.baselines.constrained_evolution import constrained_evolution
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space("small")
GAIN = torch.rand(SPACE.num_options, generator=torch.Generator().manual_seed(0)).double()
PRICE = torch.rand(SPACE.num_options, generator=torch.Generator().manual_seed(1)).double()


def quality(onehot: Tensor) -> Tensor:
    return -onehot.double() @ GAIN


def cost(onehot: Tensor) -> Tensor:
    return onehot.double() @ PRICE


def test_it_asks_within_budget_and_count_and_gets_better() -> None:
    middle = float(cost(SPACE.canonical(SPACE.sample(500, torch.Generator().manual_seed(2)))).median())
    asked, values = constrained_evolution(SPACE, quality, cost, middle, 600, torch.Generator().manual_seed(3))
    assert asked.shape == (600, SPACE.num_options) and torch.equal(values, quality(asked))
    assert torch.equal(SPACE.canonical(asked), asked) and bool((cost(asked) <= middle).all())
    assert values[:100].min() > values[-100:].median() > values.min()
    again, _ = constrained_evolution(SPACE, quality, cost, middle, 600, torch.Generator().manual_seed(3))
    assert torch.equal(again, asked)


def test_a_small_population_and_an_impossible_budget() -> None:
    generator = torch.Generator().manual_seed(0)
    asked, _ = constrained_evolution(SPACE, quality, cost, 1e9, 35, generator, population=10)
    assert len(asked) == 35
    asked, values = constrained_evolution(SPACE, quality, cost, -1.0, 50, generator)
    assert asked.shape == (0, SPACE.num_options) and values.shape == (0,)
