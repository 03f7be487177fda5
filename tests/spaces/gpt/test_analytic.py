"""Formulas of GPTs beside counts of the built networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.gpt.space import GPTSpace


@pytest.mark.parametrize(("tokens", "vocabulary"), [(8, 11), (64, 5), (3, 700)])
def test_formulas_are_the_counts_of_the_built_networks(tokens: int, vocabulary: int) -> None:
    space = GPTSpace("small", widths=(8, 16, 32), head_size=8)
    onehot = space.canonical(space.sample(8, torch.Generator().manual_seed(tokens)))
    by_formula = space.analytic(onehot, input_shape=(tokens,), vocabulary=vocabulary)
    counted = SearchSpace.analytic(space, onehot, input_shape=(tokens,), vocabulary=vocabulary)
    for name, values in counted.items():
        torch.testing.assert_close(by_formula[name], values, rtol=1e-12, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_parameters_of_networks_that_were_published() -> None:
    """Row 1 and 2 of the table of scale s: 28,142,208 and 158,424,576, without the larger vocabulary's rest."""
    space = GPTSpace("s")
    network = space.build(space.parse(space.references[0]), vocabulary=100)
    counted = sum(parameter.numel() for parameter in network.parameters())
    onehot = space.encode([space.parse(space.references[0])])
    assert space.analytic(onehot, input_shape=(4,), vocabulary=100)["parameters"].tolist() == [counted]
    assert isinstance(network, nn.Module)


def test_formulas_have_a_gradient() -> None:
    space = GPTSpace("small", widths=(8, 16), depths=(1, 2), heads=(1, 2), ratios=(1, 2), head_size=8)
    sample = torch.rand(2, space.num_options, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def flops(sample: torch.Tensor) -> torch.Tensor:
        return space.analytic(sample, input_shape=(4,), vocabulary=5)["flops"] / 1e4

    assert torch.autograd.gradcheck(flops, sample.requires_grad_())
