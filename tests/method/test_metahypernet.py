"""The bank against loops that read like the paper's formula; the perceptron's bound; seeds and shapes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in_gpu import GPU, stand_in_gpu
from torch import Tensor, nn

from modnas_fast.method.metahypernet import BankHypernetwork, logits_on_host, make_metahypernet
from modnas_fast.runtime.errors import InputError

KINDS = [("bank", {"interpolate": False}), ("bank", {"interpolate": True}), ("mlp", {})]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(interpolate: bool = False, intervals: int = 11, options: int = 7, width: int = 4) -> BankHypernetwork:
    phi = make_metahypernet(
        "bank", options, 2, width, tables=5, intervals=intervals, interpolate=interpolate, generator=seeded()
    ).double()
    with torch.no_grad():
        phi.tables.mul_(1e3)
    return phi


def preferences(first: list[float]) -> Tensor:
    r = torch.tensor(first, dtype=torch.float64)
    return torch.stack([r, 1 - r], dim=-1)


def embeddings(devices: int, width: int = 4) -> Tensor:
    return torch.rand(devices, width, generator=seeded(1), dtype=torch.float64)


def attention(phi: BankHypernetwork, d: Tensor) -> list[float]:
    """softmax_k sin(⟨d, key_k⟩ / √E) of one device."""
    scores = [
        math.sin(sum(float(a) * float(b) for a, b in zip(d, key)) / math.sqrt(len(d))) for key in phi.keys.tolist()
    ]
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def naive_row(phi: BankHypernetwork, row: int, d: Tensor) -> Tensor:
    return sum(weight * phi.tables[row, k] for k, weight in enumerate(attention(phi, d)))


def test_nearest_row_equals_loops_over_devices_and_tables() -> None:
    phi = bank()
    first = [0.0, 0.04, 0.06, 0.349, 0.5, 0.951, 1.0]
    d = embeddings(len(first))
    logits = phi(preferences(first), d)
    rows = [0, 0, 1, 3, 5, 10, 10]
    wanted = torch.stack([naive_row(phi, row, device) for row, device in zip(rows, d, strict=True)])
    torch.testing.assert_close(logits, wanted, atol=1e-12, rtol=1e-12)


def test_interpolation_equals_its_formula_between_rows() -> None:
    phi = bank(interpolate=True)
    first = [0.0, 0.03, 0.25, 0.99, 1.0]
    d = embeddings(len(first))
    neighbours = [(0, 1, 0.0), (0, 1, 0.3), (2, 3, 0.5), (9, 10, 0.9), (9, 10, 1.0)]
    wanted = torch.stack(
        [
            (1 - share) * naive_row(phi, low, device) + share * naive_row(phi, high, device)
            for (low, high, share), device in zip(neighbours, d, strict=True)
        ]
    )
    torch.testing.assert_close(phi(preferences(first), d), wanted, atol=1e-12, rtol=1e-12)


def test_both_kinds_agree_at_the_grid_points() -> None:
    nearest, smooth = bank(), bank(interpolate=True)
    r = preferences([i / 10 for i in range(11)])
    d = embeddings(1).expand(11, -1)
    torch.testing.assert_close(nearest(r, d), smooth(r, d), atol=1e-12, rtol=1e-12)


@settings(deadline=None)
@given(st.floats(0, 1))
def test_interpolation_is_continuous(first: float) -> None:
    phi = bank(interpolate=True)
    r = preferences([first, min(1.0, first + 1e-9)])
    low, high = phi(r, embeddings(1).expand(2, -1)).detach()
    assert (low - high).abs().max() < 1e-6


def test_only_interpolation_has_a_gradient_in_r() -> None:
    d = embeddings(3)
    r = preferences([0.0, 0.33, 1.0]).requires_grad_()
    (gradient,) = torch.autograd.grad(bank(interpolate=True)(r, d).sum(), r)
    assert (gradient[:, 0] != 0).all() and not gradient[:, 1].any()
    nearest = bank()(r, d)
    assert torch.autograd.grad(nearest.sum(), r, allow_unused=True)[0] is None
    inside = preferences([0.33, 0.72]).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: bank(interpolate=True)(r, d[:2]), inside)


def test_each_table_row_learns_from_its_own_preference() -> None:
    phi = bank()
    phi(preferences([0.3]), embeddings(1)).sum().backward()
    assert phi.tables.grad.abs().sum((1, 2)).nonzero().flatten().tolist() == [3]
    assert phi.keys.grad.abs().sum() > 0


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_the_first_distribution_is_almost_uniform(kind: str, options: dict) -> None:
    phi = make_metahypernet(kind, 30, 2, 10, generator=seeded(), **options)
    r = torch.rand(200, 1, generator=seeded(1))
    logits = phi(torch.cat([r, 1 - r], dim=-1), torch.rand(200, 10, generator=seeded(2)))
    assert logits.shape == (200, 30) and 0 < logits.abs().max() < 0.5
    probabilities = logits.unflatten(1, (6, 5)).softmax(-1)
    assert (probabilities - 0.2).abs().max() < 0.1


def test_the_papers_bank_has_its_published_size() -> None:
    phi = make_metahypernet("bank", 30, 2, 10)
    assert sum(p.numel() for p in phi.parameters()) == 152_000


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_seeds_reproduce(kind: str, options: dict) -> None:
    state = torch.get_rng_state()
    first, again, other = (
        torch.cat([p.flatten() for p in make_metahypernet(kind, 6, 2, 3, generator=seeded(s), **options).parameters()])
        for s in (5, 5, 6)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_leading_axes_are_one_batch(kind: str, options: dict) -> None:
    phi = make_metahypernet(kind, 6, 2, 3, generator=seeded(), **options).double()
    r, d = (
        torch.rand(4, 5, 2, generator=seeded(1)).double(),
        torch.rand(4, 5, 3, generator=seeded(2)).double(),
    )
    r = r / r.sum(-1, keepdim=True)
    before = r.clone(), d.clone()
    together = phi(r, d)
    assert together.shape == (4, 5, 6)
    torch.testing.assert_close(phi(r.flatten(0, 1), d.flatten(0, 1)).view(4, 5, 6), together)
    torch.testing.assert_close(phi(r[2, 3:4], d[2, 3:4])[0], together[2, 3])
    torch.testing.assert_close(phi(r[2, 3], d[2, 3]), together[2, 3])
    assert torch.equal(r, before[0]) and torch.equal(d, before[1])


def test_objectives_are_as_many_as_the_kind_was_made_for() -> None:
    for kind in ("mlp", "bank"):
        phi = make_metahypernet(kind, 30, 3, 10, generator=seeded())
        assert phi(torch.full((4, 3), 1 / 3), torch.rand(4, 10)).shape == (4, 30)
    with pytest.raises(ValueError, match="r: this bank serves 2 objectives, got 3"):
        make_metahypernet("bank", 30, 2, 10)(torch.full((4, 3), 1 / 3), torch.rand(4, 10))
    with pytest.raises(ValueError, match="num_objectives: a preference weighs at least 2, got 1"):
        make_metahypernet("bank", 30, 1, 10)
    with pytest.raises(InputError, match="'bank', 'mlp' or package.module:object, got 'tree'"):
        make_metahypernet("tree", 30, 2, 10)


@pytest.mark.parametrize("bound", [0.5, 3.0])
def test_logits_of_the_perceptron_stay_within_their_bound(bound: float) -> None:
    phi = make_metahypernet("mlp", 30, 2, 10, logit_bound=bound, generator=seeded()).double()
    with torch.no_grad():
        for layer in phi.layers:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(30)
    r = torch.rand(50, 2, generator=seeded(1)).double()
    d = torch.rand(50, 10, generator=seeded(2)).double().requires_grad_()
    logits = phi(r, d)
    assert 0.9 * bound < logits.abs().max() <= bound


def test_the_perceptron_is_smooth_in_both_inputs() -> None:
    phi = make_metahypernet("mlp", 4, 3, 2, hidden=5, generator=seeded()).double()
    r = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64, requires_grad=True)
    d = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(phi, (r, d))


@pytest.mark.parametrize(("kind", "changes"), KINDS)
def test_wherever_it_lies_its_answers_come_back(kind: str, changes: dict) -> None:
    phi = make_metahypernet(kind, 30, 2, 4, generator=seeded(), **changes)
    r, d = preferences([0.2, 0.7, 1.0]).float(), embeddings(3).float()
    assert torch.equal(logits_on_host(phi, r, d), phi(r, d))
    with stand_in_gpu(may_wait=True):
        phi.to(GPU)
        logits = logits_on_host(phi, r, d)
        assert logits.device.type == "cpu" and logits.shape == (3, 30)
