"""The bank for more than two objectives: a lattice of preferences, linear between its points."""

from __future__ import annotations

import itertools
from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in_gpu import GPU, stand_in_gpu
from torch import Tensor

from modnas_fast.method.metahypernet import BankHypernetwork, lattice_divisions, lattice_points, make_metahypernet

OBJECTIVES = [2, 3, 4, 5]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(objectives: int, *, interpolate: bool = True, intervals: int = 18) -> BankHypernetwork:
    """Of 3 tables, with logits of the order of one."""
    phi = BankHypernetwork(4, 2, 3, intervals, interpolate, seeded(), objectives).double()
    with torch.no_grad():
        phi.tables.mul_(1e3)
    return phi


def lattice(phi: BankHypernetwork, objectives: int) -> Tensor:
    """All points of the lattice, [rows, M] in whole numbers."""
    k = phi.divisions
    points = [p for p in itertools.product(range(k + 1), repeat=objectives) if sum(p) == k]
    return torch.tensor(points)


def device(count: int) -> Tensor:
    return torch.tensor([[0.3, 0.8]], dtype=torch.float64).expand(count, -1)


def inner(objectives: int, count: int, seed: int = 1) -> Tensor:
    """Uniform on the simplex, [count, M]."""
    draws = -torch.rand(count, objectives, generator=seeded(seed), dtype=torch.float64).log()
    return draws / draws.sum(-1, keepdim=True)


def test_rows_follow_from_intervals() -> None:
    for intervals in (2, 26, 51, 101):
        assert lattice_divisions(2, intervals) == intervals - 1
        for objectives in (3, 4, 5, 6):
            k = lattice_divisions(objectives, intervals)
            assert k == 1 or lattice_points(objectives, k) <= 2 * intervals < lattice_points(objectives, k + 1)
    assert len(bank(3, intervals=51).tables) == comb(14, 2) == 91


@pytest.mark.parametrize("objectives", OBJECTIVES)
@pytest.mark.parametrize("interpolate", [False, True])
def test_each_lattice_point_has_a_row_of_its_own(objectives: int, interpolate: bool) -> None:
    phi = bank(objectives, interpolate=interpolate)
    points = lattice(phi, objectives)
    assert len(points) == len(phi.tables) == lattice_points(objectives, phi.divisions)
    logits = phi(points.double() / phi.divisions, device(len(points)))
    rows = torch.softmax(torch.sin(device(1) @ phi.keys.T / 2**0.5), -1) @ phi.tables  # [rows, 1, N]
    apart = (logits[:, None] - rows[:, 0]).abs().amax(-1)
    assert apart.amin(-1).max() < 1e-9
    assert apart.argmin(-1).sort().values.tolist() == list(range(len(points)))


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_linear_on_every_small_simplex(objectives: int) -> None:
    """Corners of a small simplex: a lattice point, then steps along all axes of the cumulated entries in some order."""
    phi, axes = bank(objectives), objectives - 1
    k = phi.divisions
    seen = 0
    for corner in itertools.product(range(k), repeat=axes):
        for order in itertools.permutations(range(axes)):
            corners = [list(corner)]
            for axis in order:
                corners.append([value + (place == axis) for place, value in enumerate(corners[-1])])
            if any(point != sorted(point) for point in corners):
                continue
            seen += 1
            cumulated = torch.tensor(corners, dtype=torch.float64) / k
            ends = torch.cat([torch.zeros(len(corners), 1), cumulated, torch.ones(len(corners), 1)], dim=-1).double()
            simplex = ends.diff(dim=-1)
            weights = inner(len(corners), 3, seed=seen)
            at_corners = phi(simplex, device(len(corners)))
            torch.testing.assert_close(phi(weights @ simplex, device(3)), weights @ at_corners, atol=1e-9, rtol=1e-9)
    assert seen == k**axes  # they fill the simplex: each has 1/k^(M − 1) of its volume


@pytest.mark.parametrize("objectives", OBJECTIVES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_continuous_everywhere(objectives: int, data: st.DataObject) -> None:
    """Points on faces of small simplices included, where entries or their sums are multiples of 1/k."""
    phi = bank(objectives)
    entries = st.integers(0, 3 * phi.divisions)
    cuts = sorted(data.draw(st.lists(entries, min_size=objectives - 1, max_size=objectives - 1)))
    r = torch.tensor([0, *cuts, 3 * phi.divisions], dtype=torch.float64).diff() / (3 * phi.divisions)
    towards = inner(objectives, 5, seed=data.draw(st.integers(0, 99)))
    near = r + 1e-9 * (towards - r)
    logits = phi(torch.cat([r[None], near]), device(6)).detach()
    assert (logits[1:] - logits[0]).abs().max() < 1e-6


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_gradients(objectives: int) -> None:
    phi = bank(objectives)
    r = inner(objectives, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: phi(r, device(4)), r, eps=1e-7, atol=1e-5)
    phi(r, device(4)).sum().backward()
    touched = phi.tables.grad.abs().sum((1, 2)).count_nonzero()
    assert objectives <= touched <= 4 * objectives and phi.keys.grad.abs().sum() > 0
    rounded = bank(objectives, interpolate=False)(r, device(4)).sum()
    assert torch.autograd.grad(rounded, r, allow_unused=True)[0] is None


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_corners_edges_and_what_rounding_makes_of_them(objectives: int) -> None:
    phi = bank(objectives).float()
    corners = torch.eye(objectives)
    off = (corners + 1e-7).clamp(max=1 + 1e-7)
    d = device(objectives).float()
    torch.testing.assert_close(phi(off, d), phi(corners, d), atol=1e-4, rtol=1e-4)
    edge = torch.tensor([0.4] + [0.0] * (objectives - 2) + [0.6])
    assert phi(edge, d[0]).isfinite().all()


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_without_interpolation_the_nearest_row_answers(objectives: int) -> None:
    phi = bank(objectives, interpolate=False)
    r = inner(objectives, 50)
    points = lattice(phi, objectives).double() / phi.divisions
    apart = (r[:, None].cumsum(-1) - points.cumsum(-1)).abs().amax(-1)
    nearest = points[apart.argmin(-1)]
    assert apart.amin(-1).max() <= 0.5 / phi.divisions + 1e-9
    assert torch.equal(phi(r, device(50)), phi(nearest, device(50)))


def published(phi: BankHypernetwork, r: Tensor, d: Tensor) -> Tensor:
    """The bank for two objectives as it was before there were lattices."""
    attention = torch.softmax(torch.sin(d @ phi.keys.T / d.shape[-1] ** 0.5), dim=-1)

    def mixed(row: Tensor) -> Tensor:
        rows = torch.nn.functional.embedding(row, phi.tables.flatten(1)).unflatten(-1, phi.tables.shape[1:])
        return torch.matmul(attention[..., None, :], rows)[..., 0, :]

    position = r[..., 0].clamp(0, 1) * (len(phi.tables) - 1)
    if not phi.interpolate:
        return mixed(position.round().long())
    low = position.detach().floor().long().clamp(max=len(phi.tables) - 2)
    share = (position - low)[..., None]
    return (1 - share) * mixed(low) + share * mixed(low + 1)


@pytest.mark.parametrize("interpolate", [False, True])
def test_two_objectives_keep_every_bit(interpolate: bool) -> None:
    phi = make_metahypernet("bank", 30, 2, 10, intervals=51, interpolate=interpolate, generator=seeded(3))
    draws = seeded(3)
    assert torch.equal(phi.tables, 1e-3 * torch.randn(51, 50, 30, generator=draws))
    assert torch.equal(phi.keys, torch.randn(50, 10, generator=draws))
    assert list(phi.state_dict()) == ["tables", "keys"]
    first = torch.cat([torch.linspace(0, 1, 101), torch.rand(400, generator=seeded(4))])
    r = torch.stack([first, 1 - first], dim=-1).requires_grad_()
    d = torch.rand(len(r), 10, generator=seeded(5))
    ours, theirs = phi(r, d), published(phi, r, d)
    assert torch.equal(ours, theirs)
    wanted = [phi.tables, phi.keys, *([r] if interpolate else [])]
    cotangent = torch.rand(ours.shape, generator=seeded(6))
    for a, b in zip(*(torch.autograd.grad(logits, wanted, cotangent) for logits in (ours, theirs)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("interpolate", [False, True])
def test_nothing_waits_for_a_gpu(interpolate: bool) -> None:
    phi, r, d = bank(3, interpolate=interpolate).float(), inner(3, 6).float(), device(6).float()
    with stand_in_gpu(may_wait=True):
        phi.to(GPU)
        r, d = r.to(GPU), d.to(GPU)
    with stand_in_gpu():
        logits = torch.func.vmap(phi)(r, d) + phi(r, d)
        torch.autograd.grad(logits.sum(), phi.tables)
    assert logits.device == GPU and logits.shape == (6, 4)
