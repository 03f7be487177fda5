"""Random search draws different functions, uniformly, from its generator."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.baselines import random_architectures
from modnas_fast.spaces import Choice, NB201Space

space = NB201Space()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [1, 24, 300])
def test_exactly_count_different_canonical_networks(count: int) -> None:
    state = torch.get_rng_state()
    onehot = random_architectures(space, count, seeded())
    assert onehot.shape == (count, 30) and len(onehot.unique(dim=0)) == count
    assert torch.equal(space.canonical(onehot), onehot)
    assert torch.equal(onehot, random_architectures(space, count, seeded()))
    assert count == 1 or not torch.equal(onehot, random_architectures(space, count, seeded(1)))
    assert torch.equal(state, torch.get_rng_state())


def test_calls_with_one_generator_go_on() -> None:
    generator = seeded()
    assert not torch.equal(random_architectures(space, 24, generator), random_architectures(space, 24, generator))


def test_fewer_where_the_space_has_not_that_many() -> None:
    class Small(NB201Space):
        """The five networks with one operation from input to output."""

        choices = tuple(
            Choice(choice.name, choice.options if choice.name == "edge_0_3" else ("none",))
            for choice in NB201Space.choices
        )

        def canonical(self, onehot: torch.Tensor) -> torch.Tensor:
            return onehot

    onehot = random_architectures(Small(), 50, seeded())
    assert onehot.shape == (5, 10) and len(onehot.unique(dim=0)) == 5


def test_every_operation_is_drawn_about_equally_often() -> None:
    """On the edge 0→3, which joins input and output and so is never pruned."""
    draws = torch.cat([random_architectures(space, 1, seeded(seed)) for seed in range(600)])
    share = draws[:, 15:20].mean(0)
    assert (share - 0.2).abs().max() < 0.06
