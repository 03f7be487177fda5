"""Scalarizations by hand values, limits and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modnas_fast.method.scalarize import (
    SCALARIZATIONS,
    cosine,
    linear,
    make_scalarization,
    smooth_chebyshev,
    task_alone,
)


def inputs(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    losses = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    preference = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    return losses.requires_grad_(), (preference / preference.sum(-1, keepdim=True)).requires_grad_()


def test_hand_values() -> None:
    losses, r = torch.tensor([3.0, 4.0]).double(), torch.tensor([0.6, 0.8]).double()
    assert float(linear(losses, r)) == pytest.approx(5.0)
    assert float(cosine(losses, r, penalty=2.0)) == pytest.approx(5.0 - 2.0)
    assert float(cosine(losses, r.flip(0), penalty=2.0)) == pytest.approx(4.8 - 2.0 * 0.96)
    value = smooth_chebyshev(losses, r, mu=0.5, ideal=[1.0, 2.0])
    assert float(value) == pytest.approx(0.5 * math.log(math.exp(2.4) + math.exp(3.2)))
    assert float(smooth_chebyshev(losses, r, mu=0.5, ideal=1.0)) == pytest.approx(
        0.5 * math.log(math.exp(2.4) + math.exp(4.8))
    )


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("linear", {}),
        ("smooth_chebyshev", {"mu": 0.3, "ideal": 0.05}),
        ("cosine", {"penalty": 1.5}),
    ],
)
@pytest.mark.parametrize("shape", [(1, 2), (4, 2), (2, 3, 3)])
def test_gradients_and_shapes(kind: str, parameters: dict, shape: tuple[int, ...]) -> None:
    losses, r = inputs(*shape)
    scalarize = make_scalarization(kind, **parameters)
    assert scalarize(losses, r).shape == shape[:-1]
    assert torch.autograd.gradcheck(scalarize, (losses, r))


@pytest.mark.parametrize("kind", SCALARIZATIONS)
def test_rows_are_independent_inputs_unchanged_and_one_preference_is_shared(kind: str) -> None:
    losses, r = (tensor.detach() for tensor in inputs(5, 3))
    before = losses.clone(), r.clone()
    scalarize = make_scalarization(kind)
    rows = torch.stack([scalarize(losses[t], r[0]) for t in range(5)])
    torch.testing.assert_close(scalarize(losses, r[0]), rows)
    assert torch.equal(losses, before[0]) and torch.equal(r, before[1])


def test_smooth_chebyshev_tends_to_the_maximum_from_above() -> None:
    losses, r = (tensor.detach() for tensor in inputs(6, 3))
    largest = (r * losses).amax(-1)
    for mu in (1.0, 0.1, 1e-3, 1e-6):
        excess = smooth_chebyshev(losses, r, mu=mu) - largest
        assert (excess >= 0).all() and (excess <= mu * math.log(3) + 1e-12).all()
    assert smooth_chebyshev(1e6 * losses, r, mu=1e-6).isfinite().all()


def test_smooth_chebyshev_reaches_the_middle_of_a_concave_front_and_linear_does_not() -> None:
    angles = torch.linspace(0, math.pi / 2, 101).double()
    front = torch.stack((angles.cos(), angles.sin()), dim=-1)  # bulges away from the origin
    preferences = torch.tensor([[0.3, 0.7], [0.5, 0.5], [0.7, 0.3]]).double()
    corner = {int(linear(front, r).argmin()) for r in preferences}
    middle = {int(smooth_chebyshev(front, r, mu=0.01).argmin()) for r in preferences}
    assert corner <= {0, 100}
    assert len(middle) == 3 and not middle & {0, 100}


def test_detached_penalty_changes_the_value_but_not_the_gradient() -> None:
    losses, r = inputs(4, 2)
    detached = cosine(losses, r, penalty=3.0, detach_penalty=True)
    torch.testing.assert_close(detached, cosine(losses, r, penalty=3.0))
    (gradient,) = torch.autograd.grad(detached.sum(), losses)
    torch.testing.assert_close(gradient, r.detach())
    (real,) = torch.autograd.grad(cosine(losses, r, penalty=3.0).sum(), losses)
    assert ((real - gradient).norm(dim=-1) > 1e-3).all()


@pytest.mark.parametrize("scale", [0.0, 1e-42, 1e-30, 1e30])
def test_cosine_is_safe_for_tiny_zero_and_huge_losses(scale: float) -> None:
    losses = (torch.tensor([[3.0, 4.0], [0.0, 1.0]]) * scale).requires_grad_()
    r = torch.tensor([[0.6, 0.8], [1.0, 0.0]]).requires_grad_()
    penalty = -(cosine(losses, r) - linear(losses, r))
    if scale < 1:
        torch.testing.assert_close(penalty, torch.tensor([float(scale == 1e-30), 0.0]))
    gradients = torch.autograd.grad(cosine(losses, r).sum(), (losses, r))
    assert all(gradient.isfinite().all() for gradient in gradients)
    if scale < 1e-40:
        torch.testing.assert_close(gradients[0], r.detach())


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (
            "max",
            {},
            "kind: wanted 'linear', 'smooth_chebyshev', 'cosine', 'task_alone' or package.module:object, got 'max'",
        ),
        ("linear", {"mu": 0.1}, "mu: linear takes no parameter"),
        ("cosine", {"mu": 0.1}, "mu: cosine takes penalty, detach_penalty"),
        ("smooth_chebyshev", {"mu": 0.0}, "mu"),
        ("smooth_chebyshev", {"mu": "small"}, "mu"),
        ("smooth_chebyshev", {"ideal": [0.0, math.nan]}, "ideal"),
        ("cosine", {"penalty": -1.0}, "penalty"),
        ("cosine", {"detach_penalty": 1}, "detach_penalty"),
    ],
)
def test_bad_parameters(kind: str, parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_scalarization(kind, **parameters)


@pytest.mark.parametrize("kind", SCALARIZATIONS)
def test_unequal_numbers_of_objectives(kind: str) -> None:
    with pytest.raises(ValueError, match="one entry per loss"):
        make_scalarization(kind)(torch.ones(4, 2), torch.ones(4, 3))


def test_the_task_alone_knows_neither_preference_nor_cost() -> None:
    losses = torch.rand(3, 1, 2, requires_grad=True)
    preference = torch.rand(4, 2, requires_grad=True)
    value = task_alone(losses, preference)
    assert torch.equal(value, losses[..., 0].expand(3, 4))
    (of_losses,) = torch.autograd.grad(value.sum(), losses)
    assert of_losses.tolist() == [[[4.0, 0.0]]] * 3
    assert torch.equal(make_scalarization("task_alone")(losses, preference), value)
    with pytest.raises(ValueError, match="preference: wanted one entry per loss"):
        task_alone(torch.rand(2), torch.rand(3))
