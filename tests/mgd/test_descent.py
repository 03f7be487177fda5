"""Per-device gradients, their combination, and the update, against loops over devices."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modnas_fast.method.metahypernet import make_metahypernet
from modnas_fast.mgd import combine_devices, descend, device_gradients, device_groups
from modnas_fast.runtime.errors import InputError

HEADS = [("bank", {"interpolate": False}), ("bank", {"interpolate": True}), ("mlp", {})]
SCHEMES = ["mgd", "mean", "sequential", "sample"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(kind: str, options: dict, devices: int) -> tuple[nn.Module, Tensor, tuple[Tensor, Tensor]]:
    """A hypernetwork in float64, cotangents [T, N] and inputs (r, d)."""
    phi = make_metahypernet(kind, 12, 2, 4, tables=6, intervals=5, hidden=8, generator=seeded(), **options).double()
    first = torch.linspace(0.05, 0.9, devices, dtype=torch.float64)
    r = torch.stack([first, 1 - first], dim=-1)
    d = torch.rand(devices, 4, generator=seeded(1), dtype=torch.float64)
    cotangents = torch.randn(devices, 12, generator=seeded(2), dtype=torch.float64)
    return phi, cotangents, (r, d)


def gradients_one_by_one(phi: nn.Module, cotangents: Tensor, inputs: tuple[Tensor, ...]) -> list[list[Tensor]]:
    """[device][parameter], one backward pass per device."""
    parameters = list(phi.parameters())
    return [
        list(torch.autograd.grad((phi(*(x[t : t + 1] for x in inputs))[0] * cotangents[t]).sum(), parameters))
        for t in range(len(cotangents))
    ]


def flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def gram_of(rows: list[list[float]]) -> Tensor:
    matrix = torch.tensor(rows, dtype=torch.float64)
    return matrix @ matrix.T


@pytest.mark.parametrize("devices", [1, 2, 5])
@pytest.mark.parametrize(("kind", "options"), HEADS)
def test_device_gradients_equal_one_backward_pass_each(kind: str, options: dict, devices: int) -> None:
    phi, cotangents, inputs = problem(kind, options, devices)
    together = device_gradients(phi, cotangents, *inputs)
    wanted = gradients_one_by_one(phi, cotangents, inputs)
    for number, parameter in enumerate(phi.parameters()):
        assert together[number].shape == (devices, *parameter.shape)
        for t in range(devices):
            torch.testing.assert_close(together[number][t], wanted[t][number], atol=1e-13, rtol=1e-10)
    assert all(p.grad is None for p in phi.parameters())


def test_frozen_parameters_do_not_count() -> None:
    phi, cotangents, inputs = problem("mlp", {}, 3)
    next(phi.parameters()).requires_grad_(False)
    assert len(device_gradients(phi, cotangents, *inputs)) == len(list(phi.parameters())) - 1


@pytest.mark.parametrize("normalization", ["l2", "none"])
@pytest.mark.parametrize("scheme", ["mgd", "mean"])
@pytest.mark.parametrize("devices", [1, 2, 5])
@pytest.mark.parametrize(("kind", "options"), HEADS)
def test_descend_leaves_the_weighted_sum_of_device_gradients(
    kind: str, options: dict, devices: int, scheme: str, normalization: str
) -> None:
    phi, cotangents, inputs = problem(kind, options, devices)
    rows = torch.stack([flat(g) for g in gradients_one_by_one(phi, cotangents, inputs)])  # [T, P]
    before = cotangents.clone()
    combination = descend(phi, phi(*inputs), cotangents, inputs, scheme, normalization)
    units = rows / rows.norm(dim=1, keepdim=True) if normalization == "l2" else rows
    update = flat([p.grad for p in phi.parameters()])
    torch.testing.assert_close(update, combination.weights @ units, atol=1e-10, rtol=1e-8)
    assert combination.weights.sum() == pytest.approx(1) and (combination.weights >= 0).all()
    if scheme == "mean":
        torch.testing.assert_close(update, units.mean(0), atol=1e-12, rtol=1e-9)
    else:
        products = units @ update
        assert (products >= update @ update - 1e-9 * units.norm(dim=1).max() ** 2).all()
    normal = rows / rows.norm(dim=1, keepdim=True)
    torch.testing.assert_close(combination.cosines, normal @ normal.T, atol=1e-9, rtol=1e-9)
    assert torch.equal(cotangents, before)


def test_a_small_step_lowers_every_devices_loss() -> None:
    """ℓ_t linear in the logits with cotangent c_t, so the change of ℓ_t is known exactly."""
    phi, cotangents, inputs = problem("mlp", {}, 4)
    before = (phi(*inputs).detach() * cotangents).sum(-1)
    descend(phi, phi(*inputs), cotangents, inputs, "mgd", "l2")
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter -= 1e-4 * parameter.grad
    assert ((phi(*inputs).detach() * cotangents).sum(-1) < before).all()


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**31), st.sampled_from(["l2", "none"]))
def test_mgd_points_no_device_uphill(devices: int, seed: int, normalization: str) -> None:
    rows = torch.randn(devices, 4, generator=seeded(seed), dtype=torch.float64)
    rows *= 10 ** (4 * torch.rand(devices, 1, generator=seeded(seed + 1), dtype=torch.float64) - 2)
    combination = combine_devices(rows @ rows.T, "mgd", normalization)
    units = rows / rows.norm(dim=1, keepdim=True) if normalization == "l2" else rows
    update = combination.factors @ rows
    torch.testing.assert_close(update, combination.weights @ units, atol=1e-9, rtol=1e-9)
    assert (units @ update >= update @ update - 1e-8 * units.square().sum(1).max()).all()


def test_normalisation_makes_lengths_irrelevant() -> None:
    rows = [[1.0, 0.2, 0.0], [0.0, 3.0, 1.0], [-1.0, 0.5, 2.0]]
    scaled = [[1e5 * x for x in rows[0]], [1e-6 * x for x in rows[1]], rows[2]]
    first, second = combine_devices(gram_of(rows), "mgd"), combine_devices(gram_of(scaled), "mgd")
    torch.testing.assert_close(first.weights, second.weights, atol=1e-9, rtol=1e-9)
    raw = combine_devices(gram_of(scaled), "mgd", "none")
    assert (raw.weights - first.weights).abs().max() > 0.1  # the shortest gradient is the hull's nearest point


def test_without_normalisation_the_shorter_of_two_orthogonal_gradients_weighs_more() -> None:
    gram = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    torch.testing.assert_close(combine_devices(gram, "mgd", "none").weights, torch.tensor([0.8, 0.2]).double())
    normal = combine_devices(gram, "mgd", "l2")
    torch.testing.assert_close(normal.weights, torch.tensor([0.5, 0.5]).double())
    torch.testing.assert_close(normal.factors, torch.tensor([0.5, 0.25]).double())


def test_opposed_devices_cancel() -> None:
    combination = combine_devices(gram_of([[2.0, 0.0], [-1.0, 0.0]]), "mgd")
    torch.testing.assert_close(combination.weights, torch.tensor([0.5, 0.5]).double())
    torch.testing.assert_close(combination.factors @ torch.tensor([2.0, -1.0]).double(), torch.tensor(0.0).double())
    assert combination.cosines[0, 1] == -1


@pytest.mark.parametrize("normalization", ["l2", "none"])
@pytest.mark.parametrize("scheme", ["mgd", "mean"])
@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]],
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        [[1e-160, 0.0], [0.0, 1e-160], [1e-160, 1e-160]],
        [[1.0, 0.0], [1e-14, 0.0], [0.0, 1.0]],
        [[1e150, 0.0], [1.0, 0.0], [0.0, 1e150]],
        [[0.0, 0.0]],
        [[0.0, 0.0], [3.0, 4.0]],
    ],
)
def test_zero_gradients_give_finite_factors(rows: list[list[float]], scheme: str, normalization: str) -> None:
    gram = gram_of(rows)
    before = gram.clone()
    combination = combine_devices(gram, scheme, normalization)
    assert all(field.isfinite().all() for field in combination)
    assert combination.weights.sum() == pytest.approx(1) and (combination.weights >= 0).all()
    lengths = torch.tensor(rows, dtype=torch.float64).norm(dim=1)
    absent = lengths <= max(1e-12 * float(lengths.max()), 1e-30)
    assert not combination.factors[absent].any() and not combination.cosines[absent].any()
    assert torch.equal(gram, before)


def test_a_device_without_gradient_does_not_hold_the_others_still() -> None:
    combination = combine_devices(gram_of([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), "mgd")
    assert combination.factors[0] > 0.1 or combination.factors[2] > 0.1
    update = combination.factors @ torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]).double()
    assert update.norm() > 0.1


@pytest.mark.parametrize("normalization", ["l2", "none"])
def test_weights_beside_a_zero_gradient_do_not_depend_on_the_unit_of_the_losses(normalization: str) -> None:
    gram = gram_of([[1.0, 0.5], [0.0, 0.0], [0.0, 2.0]])
    small, large = (combine_devices(scale * gram, "mgd", normalization) for scale in (1.0, 1e8))
    torch.testing.assert_close(small.weights, large.weights)
    assert large.weights[[0, 2]].sum() > 0.1


@pytest.mark.parametrize("scheme", ["mean", "sequential", "sample"])
def test_other_schemes_weigh_all_alike(scheme: str) -> None:
    combination = combine_devices(gram_of([[1.0, 0.0], [-3.0, 0.1], [0.0, 2.0]]), scheme, "none")
    torch.testing.assert_close(combination.weights, torch.full((3,), 1 / 3, dtype=torch.float64))
    assert torch.equal(combination.factors, combination.weights)


@pytest.mark.parametrize("devices", [1, 4])
def test_groups_of_every_scheme(devices: int) -> None:
    groups = {scheme: [g.tolist() for g in device_groups(scheme, devices, seeded())] for scheme in SCHEMES}
    everyone = list(range(devices))
    assert groups["mgd"] == groups["mean"] == [everyone]
    assert groups["sequential"] == [[t] for t in everyone]
    assert len(groups["sample"]) == len(groups["sample"][0]) == 1
    with pytest.raises(InputError, match=r"mgd\.scheme: .* got 'pcgrad'"):
        device_groups("pcgrad", devices, seeded())


def test_sample_draws_every_device_alike_from_the_generator() -> None:
    generator = seeded(3)
    state = torch.get_rng_state()
    counts = Counter(int(device_groups("sample", 4, generator)[0]) for _ in range(2000))
    assert set(counts) == {0, 1, 2, 3} and all(abs(count - 500) < 90 for count in counts.values())
    assert torch.equal(state, torch.get_rng_state())
