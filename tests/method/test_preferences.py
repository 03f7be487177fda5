"""Preferences: the Dirichlet law of the draws, and the even spread of the rays."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from modnas_fast.method.preferences import dirichlet, rays


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("devices", "objectives"), [(1, 1), (1, 2), (13, 2), (4, 5)])
def test_rows_lie_on_the_simplex(devices: int, objectives: int, shared: bool) -> None:
    r = dirichlet(devices, objectives, shared=shared, generator=seeded())
    assert r.shape == (devices, objectives) and r.dtype == torch.float32
    assert (r >= 0).all()
    torch.testing.assert_close(r.sum(-1), torch.ones(devices))
    assert (len(r.unique(dim=0)) == 1) == (shared or devices == 1)


@pytest.mark.parametrize("beta", [0.2, 1.0, 4.0, [0.5, 1.0, 3.0]])
def test_marginals_are_beta_distributed(beta: float | list[float]) -> None:
    r = dirichlet(20_000, 3, beta, generator=seeded(1), dtype=torch.float64)
    betas = beta if isinstance(beta, list) else [beta] * 3
    for column, own in zip(r.T, betas, strict=True):
        assert stats.kstest(column, stats.beta(own, sum(betas) - own).cdf).pvalue > 0.001


def test_tiny_beta_stays_finite() -> None:
    r = dirichlet(1000, 2, 1e-5, generator=seeded(2))
    assert r.isfinite().all()
    torch.testing.assert_close(r.sum(-1), torch.ones(1000))
    assert 0.4 < float(r[:, 0].mean()) < 0.6


def test_draws_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first, second = (dirichlet(5, 2, generator=seeded(3)) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())
    generator = seeded(3)
    assert not torch.equal(*(dirichlet(5, 2, generator=generator) for _ in range(2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2), "num_devices"),
        ((2, 0), "num_objectives"),
        ((2, 2, 0.0), "beta"),
        ((2, 2, math.inf), "beta"),
        ((2, 2, [1.0]), "beta: wanted 2 numbers"),
    ],
)
def test_bad_dirichlet(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dirichlet(*arguments, generator=seeded())


def test_two_objectives_lie_evenly_on_the_circle() -> None:
    points = rays(24, 2, normalize="l2", dtype=torch.float64)
    angles = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(24, dtype=torch.float64))
    torch.testing.assert_close(angles.diff(), torch.full((23,), (math.pi / 2 - 2e-6) / 23).double())
    assert float(angles[0]) == pytest.approx(1e-6) and (points > 0).all()
    sums = rays(24, 2, dtype=torch.float64)
    torch.testing.assert_close(sums, points / points.sum(-1, keepdim=True))
    torch.testing.assert_close(sums, sums.flip(0, 1))


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("count", [1, 2, 7, 24, 28])
def test_rays_have_exactly_count_rows_on_the_simplex(count: int, objectives: int) -> None:
    points = rays(count, objectives)
    assert points.shape == (count, objectives) and (points > 0).all()
    torch.testing.assert_close(points.sum(-1), torch.ones(count))
    assert objectives == 1 or len(points.unique(dim=0)) == count
    assert torch.equal(points, rays(count, objectives))


def test_a_lattice_of_the_right_size_is_used_whole() -> None:
    points = rays(15, 3, margin=0.0)  # 4 divisions: C(6, 2) points
    assert torch.equal((points * 4).round(), points * 4)


@pytest.mark.parametrize("count", [24, 40])
def test_three_objectives_are_spread_well(count: int) -> None:
    points = rays(count, 3, dtype=torch.float64)
    corners = torch.eye(3).double()
    assert (torch.cdist(corners, points).amin(-1) < 1e-5).all()
    apart = torch.cdist(points, points) + 9 * torch.eye(count)
    # A hexagonal packing of the triangle (side √2) has about this distance between neighbours.
    assert float(apart.min()) > 0.5 * math.sqrt(2) * 2 / (math.sqrt(8 * count + 1) - 3)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 2), {}, "count"),
        ((5, 0), {}, "num_objectives"),
        ((5, 2), {"normalize": "max"}, "normalize"),
        ((5, 2), {"margin": 0.5}, "margin"),
    ],
)
def test_bad_rays(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rays(*arguments, **options)
