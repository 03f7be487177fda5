"""Networks spread evenly over the range of a cost."""

from __future__ import annotations

import torch

from modnas_fast.search.spread import BINS, CostSpread


def drawn_costs(costs: torch.Tensor, count: int, seed: int = 0) -> torch.Tensor:
    onehot = torch.eye(len(costs))
    chosen = CostSpread(onehot, costs).sample(count, torch.Generator().manual_seed(seed))
    assert chosen.shape == (count, len(costs)) and (chosen.sum(-1) == 1).all()
    return costs[chosen.argmax(-1)]


def test_every_part_of_the_range_comes_up_equally_often() -> None:
    costs = torch.randn(3000, generator=torch.Generator().manual_seed(1)).clamp(-2.5, 2.5)
    low, high = costs.min(), costs.quantile(0.995)
    drawn = drawn_costs(costs, 20_000)
    counts = torch.histc(((drawn - low) / (high - low)).clamp(max=1), BINS, 0, 1)
    assert (counts - 1000).abs().max() < 150  # uniformly random candidates: from 20 to 3,000


def test_empty_parts_and_equal_costs_are_no_obstacle() -> None:
    drawn = drawn_costs(torch.tensor([1.0] * 9 + [5.0]), 4000)
    assert abs(float((drawn == 5).float().mean()) - 0.5) < 0.05
    assert (drawn_costs(torch.ones(4), 10) == 1).all()
    assert (drawn_costs(torch.ones(1), 3) == 1).all()


def test_the_generator_decides() -> None:
    costs = torch.arange(50.0)
    assert torch.equal(drawn_costs(costs, 100, seed=3), drawn_costs(costs, 100, seed=3))
    assert not torch.equal(drawn_costs(costs, 100, seed=3), drawn_costs(costs, 100, seed=4))
