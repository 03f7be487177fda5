"""The graph MetaPredictor: broadcasting, what is not executed, gradients, seeds; ranking on HELP's tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import scipy.stats
import torch
from cost_tables import SPACE, Costs, help_latencies
from torch import Tensor, nn

from modnas_fast.predictors.graph_predictor import GraphMetaPredictor, PlainGraphPredictor, adapt, train_graph_predictor
from modnas_fast.runtime.errors import InputError

CLASSES = [GraphMetaPredictor, PlainGraphPredictor]
DATA = os.environ.get("MODNAS_DATA")
needs_tables = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA does not name the benchmark's tables")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", CLASSES)
def test_leading_axes_broadcast(kind: type[nn.Module]) -> None:
    predictor = kind(SPACE, 10, generator=seeded())
    onehot, d = SPACE.sample(4, seeded(1)), torch.rand(3, 10, generator=seeded(2))
    with torch.no_grad():
        together = predictor(onehot[:, None], d)
        assert together.shape == (4, 3)
        for a in range(4):
            for t in range(3):
                torch.testing.assert_close(together[a, t], predictor(onehot[a], d[t]))
    assert together.std(0).min() > 0 and together.std(1).min() > 0


@pytest.mark.parametrize(
    ("kind", "layers"), [(GraphMetaPredictor, 0), (GraphMetaPredictor, 2), (PlainGraphPredictor, 2)]
)
def test_gradients_of_relaxed_samples(kind: type[nn.Module], layers: int) -> None:
    predictor = kind(SPACE, 10, hidden=4, layers=layers, generator=seeded()).double()
    logits = torch.randn(2, 6, 5, generator=seeded(1), dtype=torch.float64)
    soft = logits.softmax(-1).flatten(1).requires_grad_()
    d = torch.rand(2, 10, generator=seeded(2), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(predictor, (soft, d))


@pytest.mark.parametrize("kind", CLASSES)
def test_live_predictors_leave_out_what_is_never_executed(kind: type[nn.Module]) -> None:
    d = torch.rand(1, 10, generator=seeded(2))
    sample = SPACE.sample(500, seeded(3))
    live, written = (kind(SPACE, 10, executes=what, generator=seeded()) for what in ("live", "written"))
    with torch.no_grad():
        torch.testing.assert_close(live(sample, d), live(SPACE.canonical(sample), d))
        assert not torch.allclose(written(sample, d), written(SPACE.canonical(sample), d))
    dead = SPACE.encode([SPACE.architecture([3, 0, 0, 1, 0, 0])]).requires_grad_()  # edge 0→1 leads nowhere
    gradients = [torch.autograd.grad(p(dead, d).sum(), dead)[0].unflatten(-1, (6, 5))[0] for p in (live, written)]
    assert not gradients[0][0].any() and gradients[0][3].any()
    assert gradients[1][0].any()


def made_up(networks: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    onehot, d = SPACE.sample(networks, seeded(4)), torch.rand(3, 10, generator=seeded(5))
    counts = onehot.unflatten(-1, (6, 5)).sum(-2) / 6
    return onehot, d, counts @ torch.rand(5, 3, generator=seeded(6))


def trained(seed: int, target: Tensor, steps: int = 5) -> tuple[list[float], GraphMetaPredictor]:
    onehot, d, _ = made_up()
    generator = seeded(seed)
    predictor = GraphMetaPredictor(SPACE, 10, hidden=8, generator=generator)
    return train_graph_predictor(predictor, onehot, d, target, steps=steps, generator=generator), predictor


def test_training_reproduces_from_a_seed_and_freezes() -> None:
    state, target = torch.get_rng_state(), made_up()[2]
    first, predictor = trained(0, target)
    assert first == trained(0, target)[0] != trained(1, target)[0]
    assert torch.equal(state, torch.get_rng_state())
    assert not any(p.requires_grad for p in predictor.parameters())


def test_training_passes_over_what_was_not_measured() -> None:
    target = made_up()[2]
    gaps = target.clone()
    gaps[::2, 0] = torch.nan
    losses, predictor = trained(0, gaps, steps=200)
    assert losses[-1] < 0.2 * losses[0]
    onehot, d, _ = made_up()
    assert (predictor(onehot[::2], d[0]) - target[::2, 0]).abs().mean() < 0.5 * target[::2, 0].std()


def test_one_measurement_far_off_pulls_little() -> None:
    onehot, d, target = made_up()
    outlier = target.clone()
    outlier[7, 1] = 50.0
    _, predictor = trained(0, outlier, steps=200)
    others = torch.arange(len(onehot)) != 7
    assert (predictor(onehot[others], d[1]) - target[others, 1]).abs().median() < 0.5 * target[others, 1].std()


def test_wrong_inputs_are_told() -> None:
    onehot, d, target = made_up()
    predictor = GraphMetaPredictor(SPACE, 10, hidden=8, generator=seeded())
    with pytest.raises(InputError, match=r"target: must be .* = \[60, 3\], got \[3, 60\]"):
        train_graph_predictor(predictor, onehot, d, target.T, steps=1)
    target[:, 2] = torch.nan
    with pytest.raises(InputError, match=r"devices \[2\] have no measurement"):
        train_graph_predictor(predictor, onehot, d, target, steps=1)
    with pytest.raises(InputError, match="executes: must be 'written' or 'live', got 'dead'"):
        GraphMetaPredictor(SPACE, 10, executes="dead")
    with pytest.raises(InputError, match="cost: must hold one value per network, at least two"):
        adapt(predictor, onehot[:1], target[:1, 0], d[0])


def test_adaptation_learns_a_price_and_keeps_a_perfect_predictor() -> None:
    onehot, d, _ = made_up()
    predictor = GraphMetaPredictor(SPACE, 10, generator=seeded()).requires_grad_(False)
    right = predictor(onehot, d[0])
    torch.testing.assert_close(adapt(predictor, onehot[:10], right[:10], d[0])(onehot, d[0]), right)
    dearer = right + onehot.unflatten(-1, (6, 5))[..., 3].sum(-1)  # every 3×3 convolution costs 1 more
    adapted = adapt(predictor, onehot[:30], dearer[:30], d[0])
    misses = (adapted(onehot, d[0]) - dearer)[30:].abs().mean(), (right - dearer)[30:].abs().mean()
    assert misses[0] < 0.3 * misses[1]


def spearman(predictor: nn.Module, costs: Costs, name: str) -> float:
    one = costs.only([name])
    with torch.no_grad():
        predicted = predictor(one.onehot, one.d[0])
    return float(scipy.stats.spearmanr(predicted, one.cost[:, 0]).statistic)


@needs_tables
def test_ranking_on_published_latencies_also_unseen_and_adapted() -> None:
    costs = help_latencies(Path(DATA))
    search = costs.only(["1080ti_1", "1080ti_256", "silver_4114", "pixel3", "samsung_a50", "titanx_32"])
    generator = seeded()
    rows = torch.randperm(len(costs.onehot), generator=generator)[:900]
    predictor = GraphMetaPredictor(SPACE, 10, generator=generator)
    train_graph_predictor(predictor, costs.onehot[rows], search.d, search.cost[rows], steps=300, generator=generator)
    assert min(spearman(predictor, costs, device.name) for device in search.devices) > 0.85
    gains = []
    for name in ("gold_6226", "fpga", "eyeriss", "titan_rtx_256"):
        one = costs.only([name])
        zero_shot = spearman(predictor, costs, name)
        assert zero_shot > 0.85
        measured = [*one.references, *rows[:20].tolist()]
        adapted = adapt(predictor, one.onehot[measured], one.cost[measured, 0], one.d[0])
        gains.append(spearman(adapted, costs, name) - zero_shot)
    assert sum(gains) > 0
