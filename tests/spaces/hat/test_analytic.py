"""Formulas of encoder-decoders beside counts of the built networks."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.hat.space import HATSpace

TINY = {
    "encoder_widths": (4, 8, 16),
    "decoder_widths": (8, 12),
    "encoder_depths": (3, 4),
    "encoder_ffns": (8, 48),
    "decoder_ffns": (8, 64),
    "inner": 16,
}


@pytest.mark.parametrize(("tokens", "vocabulary"), [(8, 11), (40, 5), (3, 700)])
def test_formulas_are_the_counts_of_the_built_networks(tokens: int, vocabulary: int) -> None:
    _compare(HATSpace("small", **TINY), 12, tokens, vocabulary)


@pytest.mark.parametrize("scale", ["small", "space0", "space1"])
def test_formulas_hold_at_every_scale(scale: str) -> None:
    _compare(HATSpace(scale), 1, 30, 20)


def _compare(space: HATSpace, count: int, tokens: int, vocabulary: int) -> None:
    onehot = space.canonical(space.sample(count, torch.Generator().manual_seed(tokens)))
    onehot = torch.cat([onehot, space.encode([space.parse(text) for text in space.references[:2]])])
    by_formula = space.analytic(onehot, input_shape=(2, tokens), vocabulary=vocabulary)
    counted = SearchSpace.analytic(space, onehot, input_shape=(2, tokens), vocabulary=vocabulary)
    assert by_formula.keys() == counted.keys()
    for name, values in counted.items():
        torch.testing.assert_close(by_formula[name], values, rtol=1e-12, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_layers_beyond_the_depth_cost_nothing() -> None:
    space = HATSpace("small")
    onehot = space.sample(20, torch.Generator().manual_seed(0))
    costs = space.analytic(torch.stack([onehot, space.canonical(onehot)]), input_shape=(2, 9), vocabulary=7)
    for values in costs.values():
        torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["parameters", "flops", "memory"])
def test_formulas_have_a_gradient(name: str) -> None:
    space = HATSpace("small", **TINY)
    sample = torch.rand(2, space.num_options, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def cost(sample: torch.Tensor) -> torch.Tensor:
        return space.analytic(sample, input_shape=(2, 4), vocabulary=5)[name] / size

    size = 1.0
    size = float(cost(sample).mean())  # differences are taken of numbers near 1

    assert torch.autograd.gradcheck(cost, sample.requires_grad_())
    (gradient,) = torch.autograd.grad(cost(sample).sum(), sample)
    assert gradient.isfinite().all() and gradient.any()
