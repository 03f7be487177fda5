"""The MetaPredictor: gradients of one-hots, what costs nothing, recovery of a made-up latency table."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from torch import Tensor

from modnas_fast.devices import Device, embeddings
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor, predictor_quality, train_metapredictor
from modnas_fast.spaces import NB201Space

space = NB201Space()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(seed: int = 0) -> MetaPredictor:
    return MetaPredictor(space, 10, 100, seeded(seed))


def made_up_latency(onehot: Tensor, device: int) -> Tensor:
    """ms: a base and a cost per executed operation, the latter a mixture of two kinds of device."""
    share = device / 6
    convolution_bound, memory_bound = (
        torch.tensor([0.0, 0.1, 1.0, 4.0, 0.5]),
        torch.tensor([0.0, 1.0, 1.5, 2.0, 3.0]),
    )
    costs = (1 + device) * ((1 - share) * convolution_bound + share * memory_bound)
    counts = space.canonical(onehot).unflatten(-1, (6, 5)).sum(-2)
    return 2.0 + counts @ costs


def made_up_device(number: int) -> Device:
    references = space.encode([space.parse(text) for text in space.references])
    return Device.from_reference_latencies(f"device {number}", made_up_latency(references, number).tolist())


def table(numbers: list[int], networks: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    onehots, d, targets = [], [], []
    for number in numbers:
        device, sample = made_up_device(number), space.sample(networks, seeded(number))
        onehots.append(sample)
        d.append(embeddings([device]).expand(networks, -1))
        targets.append(device.normalize(made_up_latency(sample, number)))
    return torch.cat(onehots), torch.cat(d), torch.cat(targets)


def test_gradient_of_relaxed_samples() -> None:
    predictor = make().double()
    logits = torch.randn(2, 6, 5, generator=seeded(1), dtype=torch.float64)
    soft = logits.softmax(-1).flatten(1).requires_grad_()
    d = torch.rand(2, 10, generator=seeded(2), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(predictor, (soft, d))
    assert predictor(soft, d).shape == (2,)


def test_what_is_not_executed_costs_nothing() -> None:
    predictor = make()
    d = torch.rand(1, 10, generator=seeded(2))
    everything = space.enumerate()
    with torch.no_grad():
        assert torch.equal(predictor(everything, d), predictor(space.canonical(everything), d))
    dead = space.encode([space.architecture([3, 0, 0, 1, 0, 0])]).requires_grad_()  # edge 0→1 leads nowhere
    gradient = torch.autograd.grad(predictor(dead, d).sum(), dead)[0].unflatten(-1, (6, 5))[0]
    assert not gradient[0].any() and gradient[3].any()


def test_leading_axes_are_one_batch() -> None:
    predictor = make()
    onehot = space.sample(6, seeded(1)).view(2, 3, 30)
    d = torch.rand(2, 1, 10, generator=seeded(2))
    together = predictor(onehot, d.expand(2, 3, 10))
    assert together.shape == (2, 3)
    torch.testing.assert_close(predictor(onehot, d), together)
    torch.testing.assert_close(predictor(onehot[1, 2], d[1, 0]), together[1, 2])


def test_training_recovers_an_additive_table_and_generalises_to_an_unseen_device() -> None:
    predictor = make()
    losses = train_metapredictor(predictor, *table([0, 1, 2, 4, 5, 6]), steps=400, learning_rate=3e-3)
    assert len(losses) == 400 and losses[-1] < 1e-3 < losses[0]
    onehot = space.sample(300, seeded(99))
    for number in (0, 2, 6, 3):  # 3 is unseen
        device = made_up_device(number)
        with torch.no_grad():
            predicted = device.denormalize(predictor(onehot, embeddings([device])))
        quality = predictor_quality(predicted.tolist(), made_up_latency(onehot, number).tolist())
        assert quality.spearman > 0.95 and quality.mape < 0.1


def test_training_freezes_the_predictor_and_tells_every_step() -> None:
    predictor, steps = make(), []
    onehot, d, target = table([0, 1], networks=8)
    before = onehot.clone(), d.clone(), target.clone()
    train_metapredictor(predictor, onehot, d, target, steps=5, learning_rate=1e-3, on_step=steps.append)
    assert steps == [1, 2, 3, 4, 5]
    assert not any(p.requires_grad for p in predictor.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, (onehot, d, target), strict=True))
    sample = onehot.clone().requires_grad_()
    predictor(sample, d).sum().backward()
    assert sample.grad.abs().sum() > 0


def test_training_reproduces_from_a_seed() -> None:
    state = torch.get_rng_state()
    losses = [
        train_metapredictor(make(seed), *table([0, 1], networks=8), steps=10, learning_rate=1e-3) for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(state, torch.get_rng_state())


def test_quality_by_hand() -> None:
    quality = predictor_quality([1.0, 3.0, 2.0, 8.0], [1.0, 2.0, 4.0, 4.0])
    # one of six pairs is the wrong way round and one is tied in the measurements: τ_b = (4 − 1) / √(6 · 5)
    assert quality.kendall == pytest.approx(3 / 30**0.5)
    assert quality.mape == pytest.approx((0 + 0.5 + 0.5 + 1.0) / 4)
    # ranks 1 3 2 4 and 1 2 3.5 3.5
    assert quality.spearman == pytest.approx(scipy.stats.pearsonr([1, 3, 2, 4], [1, 2, 3.5, 3.5]).statistic)
    perfect = predictor_quality([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert (perfect.spearman, perfect.kendall, perfect.mape) == (1.0, 1.0, 0.0)
    assert predictor_quality([3.0, 2.0, 1.0], [1.0, 2.0, 3.0]).spearman == -1.0


# ---- several costs ----


def test_a_cost_model_gives_each_predictor_its_part_of_the_embedding() -> None:
    first, second = make(0), make(1)
    model, d = CostModel([first, second]), torch.rand(4, 20, generator=seeded(2))
    onehot = space.sample(4, seeded(1))
    with torch.no_grad():
        costs = model(onehot, d)
        assert torch.equal(costs[:, 0], first(onehot, d[:, :10]))
        assert torch.equal(costs[:, 1], second(onehot, d[:, 10:]))
    assert costs.shape == (4, 2)


def test_all_networks_on_all_devices_are_predicted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CostModel([make(0), make(1)])
    onehot, d = space.sample(7, seeded(1)), torch.rand(3, 20, generator=seeded(2))
    monkeypatch.setattr("modnas_fast.predictors.metapredictor.CHUNK", 3)
    costs = model.on_devices(onehot, d)
    assert costs.shape == (7, 3, 2) and not costs.requires_grad
    for network in range(7):
        for device in range(3):
            torch.testing.assert_close(costs[network, device], model(onehot[network], d[device]).detach())
