"""mgd_weights and mgd_backward: normalisation, shapes of gradients, `.grad` of any model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.mgd import combine, mgd_backward, mgd_weights

NORMALIZATIONS = ["none", "l2", "loss", "loss+"]


def rows(count: int = 4, width: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    matrix = 0.4 + torch.randn(count, width, generator=generator, dtype=torch.float64)
    return matrix * torch.logspace(-2, 2, count, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_factors_lead_to_the_shortest_sum_of_normalised_gradients(normalize: str) -> None:
    matrix, losses = rows(), torch.tensor([0.5, 2.0, 1.0, 8.0], dtype=torch.float64)
    norms = matrix.norm(dim=1)
    scale = {"none": torch.ones(4).double(), "l2": norms, "loss": losses, "loss+": losses * norms}[normalize]
    found = mgd_weights(matrix, normalize, losses=losses)
    torch.testing.assert_close(found.normalizers, scale)
    torch.testing.assert_close(found.factors, found.weights / scale)
    units = matrix / scale[:, None]
    shortest = combine(found.factors, matrix)
    torch.testing.assert_close(shortest, found.weights @ units)
    torch.testing.assert_close(found.point.squared_norm, shortest @ shortest)
    assert (units @ shortest >= shortest @ shortest - 1e-12 * units.square().sum(1).max()).all()


def test_scaling_a_gradient_changes_nothing_when_lengths_are_normalised() -> None:
    matrix = rows()
    scaled = matrix * torch.tensor([1e-6, 1.0, 1e6, 3.0]).double()[:, None]
    torch.testing.assert_close(mgd_weights(matrix, "l2").weights, mgd_weights(scaled, "l2").weights)


def test_batches() -> None:
    batch = torch.stack([rows(seed=s) for s in range(3)])
    losses = torch.rand(3, 4).double() + 0.1
    found = mgd_weights(batch, "loss+", losses=losses)
    for b in range(3):
        alone = mgd_weights(batch[b], "loss+", losses=losses[b])
        torch.testing.assert_close(found.factors[b], alone.factors)


@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_zero_and_bad_gradients(normalize: str) -> None:
    matrix = rows()
    matrix[1] = 0
    assert mgd_weights(matrix, normalize).weights.tolist() == [0, 1, 0, 0]
    ignored = mgd_weights(matrix, normalize, zeros="ignore")
    assert ignored.factors[1] == 0 and ignored.weights.sum() == pytest.approx(1)
    matrix[2, 3] = torch.nan
    with pytest.raises(ValueError, match="row 2 holds NaN"):
        mgd_weights(matrix, normalize)
    skipped = mgd_weights(matrix, normalize, nonfinite="skip", zeros="ignore")
    assert skipped.factors[2] == 0 and skipped.factors.isfinite().all()
    assert combine(skipped.factors, matrix).isfinite().all()


@pytest.mark.parametrize(
    ("normalize", "losses", "text"),
    [
        ("l1", None, "not 'l1'"),
        ("loss", None, "losses: wanted one per gradient"),
        ("loss", [1.0, 2.0], r"losses must have shape \[4\], not \[2\]"),
        ("loss", [1.0, 2.0, 0.0, 1.0], r"losses\[2\] must be positive and finite, not 0.0"),
        ("loss+", [1.0, float("nan"), 1.0, 1.0], r"losses\[1\] must be positive and finite, not nan"),
    ],
)
def test_bad_options_are_named(normalize: str, losses: list[float] | None, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        mgd_weights(rows(), normalize, losses=losses)


# ---- in a training loop ----


def trunk_and_heads() -> tuple[nn.Module, nn.ModuleList, Tensor, Tensor]:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6)).double()
    heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(3)).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(3, 16, 1, generator=generator, dtype=torch.float64)
    return trunk, heads, x, y


def losses_of(trunk: nn.Module, heads: nn.ModuleList, x: Tensor, y: Tensor) -> list[Tensor]:
    shared = trunk(x)
    return [(head(shared) - target).square().mean() for head, target in zip(heads, y, strict=True)]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_grad_is_the_weighted_sum_of_the_losses_gradients(normalize: str, batched: bool) -> None:
    trunk, heads, x, y = trunk_and_heads()
    losses = losses_of(trunk, heads, x, y)
    single = [torch.autograd.grad(loss, list(trunk.parameters()), retain_graph=True) for loss in losses]
    given = torch.stack(losses) if batched else losses
    found = mgd_backward(given, trunk.parameters(), normalize, batched=batched)
    for number, parameter in enumerate(trunk.parameters()):
        expected = sum(factor * grads[number] for factor, grads in zip(found.factors, single, strict=True))
        torch.testing.assert_close(parameter.grad, expected)
    assert all(p.grad is None for p in heads.parameters())


def test_a_small_step_lowers_every_loss() -> None:
    trunk, heads, x, y = trunk_and_heads()
    before = losses_of(trunk, heads, x, y)
    mgd_backward(before, trunk.parameters())
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter -= 1e-3 * parameter.grad
    after = losses_of(trunk, heads, x, y)
    assert all(new < old for new, old in zip(after, before, strict=True))


def test_grad_accumulates_and_heads_can_follow() -> None:
    trunk, heads, x, y = trunk_and_heads()
    mgd_backward(losses_of(trunk, heads, x, y), trunk.parameters())
    first = [p.grad.clone() for p in trunk.parameters()]
    losses = losses_of(trunk, heads, x, y)
    mgd_backward(losses, trunk.parameters(), retain_graph=True)
    torch.autograd.backward(sum(losses), inputs=list(heads.parameters()))
    for parameter, once in zip(trunk.parameters(), first, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * once)
    assert all(p.grad is not None for p in heads.parameters())


@pytest.mark.parametrize("batched", [False, True])
def test_parameters_that_some_or_no_loss_reaches(batched: bool) -> None:
    a, b, c = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(3))
    losses = [(a**2).sum(), (a**2).sum() + (b**2).sum()]
    found = mgd_backward(losses, [a, b, c], batched=batched)
    assert c.grad is None and found.weights.tolist() == [1, 0]
    assert a.grad.tolist() == [2, 4] and b.grad.tolist() == [0, 0]


def test_bad_losses_and_parameters_are_named() -> None:
    x = torch.ones(2, requires_grad=True)
    for losses in ([], x.sum()):
        with pytest.raises(ValueError, match="losses: wanted T scalars"):
            mgd_backward(losses, [x])
    with pytest.raises(ValueError, match=r"losses\[1\] must be a scalar, not of shape \[2\]"):
        mgd_backward([x.sum(), x * 2], [x])
    with pytest.raises(ValueError, match="parameters: wanted at least one"):
        mgd_backward([x.sum()], [torch.ones(2)])
