"""Predictors of GPTs: detailed counts against few features, and the MLP."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modnas_fast.config import PredictorConfig
from modnas_fast.predictors.make import make_metapredictor, train_cost_model
from modnas_fast.predictors.metapredictor import CostModel, DetailedMetaPredictor, predictor_quality
from modnas_fast.predictors.mlp_predictor import MLPMetaPredictor
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.gpt.space import GPTSpace

SPACE = GPTSpace("s")
DEVICES = 3


def costs(onehot: Tensor) -> Tensor:
    """[n, T]: every width has its own price of heads and ratios, the lowest that in the middle."""
    shapes = [SPACE.shape(architecture.indices) for architecture in SPACE.decode(onehot)]
    rows = [
        [(sum(s.heads) + 3 * t * sum(s.ratios)) * (1 if s.width == 384 else 2 + t) / 144 for t in range(DEVICES)]
        for s in shapes
    ]
    return torch.tensor(rows)


def trained(kind: str, steps: int, hidden: int = 32) -> tuple[torch.nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(0)
    onehot, new = (SPACE.sample(count, generator) for count in (300, 200))
    references = SPACE.encode([SPACE.parse(text) for text in SPACE.references])
    known = costs(references)
    low, high = known.amin(0), known.amax(0)
    d = ((known - low) / (high - low)).T.contiguous()
    options = PredictorConfig(kind=kind, steps=steps, hidden=hidden, learning_rate=5e-3)
    predictor = make_metapredictor(options, SPACE, 10, generator, "written")
    target = (costs(onehot) - low)[..., None] / (high - low)[:, None]
    train_cost_model(CostModel([predictor]), options, onehot, d, target, generator)
    with torch.no_grad():
        predicted = predictor(new[:, None], d)
    wanted = costs(new)
    found = [predictor_quality(predicted[:, t].tolist(), wanted[:, t].tolist()).spearman for t in range(DEVICES)]
    return predictor, torch.tensor(found)


def test_details_tell_what_few_features_cannot() -> None:
    predictor, detailed = trained("detailed", 600)
    _, additive = trained("additive", 300)
    assert isinstance(predictor, DetailedMetaPredictor) and bool((detailed > 0.98).all()), detailed
    assert 1 - detailed.mean() < 0.5 * (1 - additive.mean()), (detailed, additive)
    assert not any(parameter.requires_grad for parameter in predictor.parameters())


def test_details_of_a_network_by_hand() -> None:
    text = "e384_l10_m2.2.2.2.3.3.3.4.4.4_h4.8.8.8.8.8.8.8.8.12_bias"
    (found,) = SPACE.details(SPACE.canonical(SPACE.encode([SPACE.parse(text)])))
    per_width = found.view(3, -1)
    assert per_width[[0, 2]].abs().sum() == 0
    torch.testing.assert_close(12 * per_width[1], torch.tensor([12.0, 4, 3, 3, 1, 8, 1, 10]))


def test_the_mlp_learns_and_absent_layers_cost_nothing() -> None:
    predictor, found = trained("mlp", 300)
    assert isinstance(predictor, MLPMetaPredictor) and bool((found > 0.7).all()), found
    linears = [layer for layer in predictor.layers if isinstance(layer, torch.nn.Linear)]
    assert [layer.out_features for layer in linears] == [32, 32, 32, 32, 1]
    shallow = SPACE.onehot(torch.tensor([[1, 0, *[1] * 24, 0], [1, 0, *[1] * 10, 2, 2, *[1] * 10, 0, 2, 0]]))
    shallow.requires_grad_()
    costs = predictor(shallow, torch.rand(10, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(costs[0], costs[1])
    (gradient,) = torch.autograd.grad(costs.sum(), shallow)
    ratios, heads = gradient[:, 6:42].view(2, 12, 3), gradient[:, 42:78].view(2, 12, 3)
    assert not ratios[:, 10:].any() and not heads[:, 10:].any() and bool(ratios[:, :10].any())


def test_one_seed_is_one_mlp() -> None:
    one, other = (MLPMetaPredictor(SPACE, 10, 8, torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))


def test_a_space_without_details_says_so() -> None:
    with pytest.raises(InputError, match="predictor.kind: space nb201 has no detailed counts of its networks"):
        DetailedMetaPredictor(NB201Space(), 10)
