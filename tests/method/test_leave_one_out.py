"""The estimator that compares samples, and the entropy of the architecture distribution."""

import itertools
from functools import partial

import pytest
import torch
from torch import Tensor

from modnas_fast.method.architect import compared, compared_in_order, make_architect, samples_per_device

SIZES = (2, 3)


def loss_of(samples: Tensor) -> Tensor:
    """A loss with an interaction between the two choices, different for every network."""
    table = torch.tensor([[0.3, 1.0, 0.7], [0.9, 0.1, 0.5]], dtype=samples.dtype)
    return torch.einsum("...i,...j,ij->...", samples[..., :2], samples[..., 2:], table)


def exact_gradient(logits: Tensor, count: int) -> Tensor:
    """Gradient of the surrogate averaged over all draws of `count` samples, by enumeration."""
    architect = make_architect("leave_one_out", SIZES)
    networks = [torch.cat([torch.eye(2)[i], torch.eye(3)[j]]).to(logits) for i in range(2) for j in range(3)]
    total = torch.zeros_like(logits)
    for draw in itertools.product(networks, repeat=count):
        samples = torch.stack(draw)
        log_p = torch.cat([logits[:2].log_softmax(0), logits[2:].log_softmax(0)])
        probability = (samples @ log_p).exp().prod().detach()
        leaf = logits.detach().requires_grad_()
        surrogate = architect.surrogate(loss_of(samples)[:, None], samples, leaf[None])
        total += probability * torch.autograd.grad(surrogate.sum(), leaf)[0]
    return total


def test_expected_gradient_is_that_of_the_expected_rank() -> None:
    logits = torch.tensor([0.2, -0.4, 0.5, 0.0, -0.3], dtype=torch.float64)
    rival = torch.cat([logits[:2].softmax(0), logits[2:].softmax(0)])  # detached
    leaf = logits.clone().requires_grad_()
    own = torch.cat([leaf[:2].softmax(0), leaf[2:].softmax(0)])
    joint = torch.outer(own[:2], own[2:]).flatten()
    other = torch.outer(rival[:2], rival[2:]).flatten()
    grid = torch.stack([torch.cat([torch.eye(2)[i], torch.eye(3)[j]]) for i in range(2) for j in range(3)])
    losses = loss_of(grid.double())
    rank = (torch.sign(losses[:, None] - losses[None]) * other).sum(1)
    expected = torch.autograd.grad((joint * rank).sum(), leaf)[0]
    torch.testing.assert_close(exact_gradient(logits, 2), expected)
    torch.testing.assert_close(exact_gradient(logits, 3), expected)


def test_samples_are_hard_and_carry_no_gradient() -> None:
    architect = make_architect("leave_one_out", SIZES)
    logits = torch.zeros(4, 5, requires_grad=True)
    samples = architect(logits.expand(8, 4, 5), generator=torch.Generator().manual_seed(0))
    assert not samples.requires_grad
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(samples[..., :2].sum(-1), torch.ones(8, 4))


def test_equal_samples_give_no_gradient_and_one_sample_is_refused() -> None:
    architect = make_architect("leave_one_out", SIZES)
    logits = torch.zeros(1, 5, requires_grad=True)
    samples = torch.tensor([1.0, 0, 0, 1, 0]).expand(4, 5)
    architect.surrogate(torch.full((4, 1), 0.3), samples, logits).sum().backward()
    assert not logits.grad.any()
    with pytest.raises(ValueError, match="at least 2"):
        architect.surrogate(torch.zeros(1, 1), samples[:1], logits)


def test_devices_learn_from_each_others_samples_by_importance() -> None:
    """Against the formula written out, one device and one sample at a time."""
    architect = make_architect("leave_one_out", SIZES)
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 5, dtype=torch.float64, generator=generator).requires_grad_()
    samples = architect(logits.detach().expand(4, 3, 5), generator=generator).flatten(0, 1)  # [12, 5]
    loss = torch.randn(12, 3, dtype=torch.float64, generator=generator)
    log_p = torch.stack(
        [samples[:, :2] @ row[:2].log_softmax(0) + samples[:, 2:] @ row[2:].log_softmax(0) for row in logits]
    )
    p = log_p.detach().exp()
    for device, value in enumerate(architect.surrogate(loss, samples, logits)):
        weights = p[device] / p.mean(dim=0)
        weights = weights / weights.sum()
        expected = 0.0
        for s in range(12):
            others = [j for j in range(12) if j != s]
            rank = sum(weights[j] * torch.sign(loss[s, device] - loss[j, device]) for j in others)
            expected = expected + weights[s] * rank / weights[others].sum() * log_p[device, s]
        torch.testing.assert_close(value, expected)


def test_devices_with_one_distribution_share_all_samples_alike() -> None:
    architect = make_architect("leave_one_out", SIZES)
    logits = torch.zeros(2, 5, requires_grad=True)
    samples = architect(logits.expand(3, 2, 5), generator=torch.Generator().manual_seed(0)).flatten(0, 1)
    loss = loss_of(samples)[:, None]
    both = architect.surrogate(loss.expand(6, 2), samples, logits)
    alone = architect.surrogate(loss, samples, logits[:1])
    torch.testing.assert_close(both, alone.expand(2))


def test_descending_the_surrogate_finds_the_best_network() -> None:
    architect = make_architect("leave_one_out", SIZES)
    generator = torch.Generator().manual_seed(1)
    logits = torch.zeros(1, 5, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        samples = architect(logits.expand(4, 5), generator=generator)
        optimizer.zero_grad()
        architect.surrogate(loss_of(samples)[:, None], samples, logits).sum().backward()
        optimizer.step()
    assert logits[0, :2].argmax() == 1 and logits[0, 2:].argmax() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_samples_are_compared_in_order(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties, weights of 0, an infinite loss, and one that is no number."""
    generator = torch.Generator().manual_seed(0)
    loss = torch.randint(0, 9, (40, 6), generator=generator).to(dtype)
    loss[3, 4], loss[7, 5] = torch.nan, torch.inf
    weights = torch.rand(40, 6, generator=generator, dtype=dtype) * (torch.rand(40, 6, generator=generator) < 0.8)
    close = partial(torch.testing.assert_close, atol=50 * torch.finfo(dtype).eps, rtol=0)
    close(compared_in_order(loss, weights), compared(loss, weights))
    assert compared_in_order(loss, weights)[3, 4] == 0
    monkeypatch.setattr("modnas_fast.method.architect.PAIRS", 0)
    architect = make_architect("leave_one_out", SIZES)
    logits = torch.randn(3, sum(SIZES), generator=generator, dtype=dtype, requires_grad=True)
    samples = architect(logits.expand(4, 3, -1), generator=generator).flatten(0, 1)
    found = architect.surrogate(loss[:12, :3], samples, logits)
    monkeypatch.undo()
    close(found, architect.surrogate(loss[:12, :3], samples, logits))


@pytest.mark.parametrize("kind", ["reinmax", "leave_one_out", "softmax"])
def test_entropy_is_the_sum_over_groups(kind: str) -> None:
    architect = make_architect(kind, SIZES)
    logits = torch.zeros(2, 5, dtype=torch.float64)
    logits[1, 0] = 800.0
    expected = torch.tensor([2.0, 3.0], dtype=torch.float64).log()
    torch.testing.assert_close(architect.entropy(logits), torch.stack([expected.sum(), expected[1]]))
    leaf = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(architect.entropy, leaf.requires_grad_())


def test_samples_per_device_are_at_least_those_that_are_needed() -> None:
    architect = make_architect("leave_one_out", SIZES)
    assert samples_per_device(architect, None) == 4 and samples_per_device(architect, 2) == 2
    assert samples_per_device(make_architect("reinmax", SIZES), None) == 1
    with pytest.raises(ValueError, match=r"architect\.samples: wanted at least 2, got 1"):
        samples_per_device(architect, 1)
