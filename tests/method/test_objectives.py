"""The common scale of the objectives."""

import math

import pytest
import torch

from modnas_fast.method.objectives import COST_UTOPIA, UTOPIA, ObjectiveScale

COSTS = torch.tensor([[[0.0], [1.0]], [[1.0], [2.0]], [[2.0], [5.0]]])  # [n = 3, T = 2, C = 1]
BOTH = torch.tensor([0, 1])


def scaled_task(scale: ObjectiveScale, loss: float) -> float:
    """The scaled task loss of one network on device 0."""
    return float(scale(torch.tensor([loss]), torch.tensor([[0.0]]), torch.tensor([0]))[0, 0])


def test_disabled_leaves_the_raw_objectives() -> None:
    scale = ObjectiveScale(COSTS, enabled=False)
    scale.observe(torch.tensor([0.1, 0.2]), chance=2.3)
    losses = scale(torch.tensor([0.5, 0.7]), torch.tensor([[1.0], [2.0]]), BOTH)
    assert losses.tolist() == [[0.5, 1.0], [pytest.approx(0.7), 2.0]]


def test_cost_is_least_at_each_devices_cheapest_network() -> None:
    scale = ObjectiveScale(COSTS, enabled=True)
    losses = scale(torch.ones(2), torch.tensor([[0.0], [1.0]]), BOTH)
    assert losses[:, 1].tolist() == [pytest.approx(COST_UTOPIA)] * 2


def test_task_loss_is_scaled_as_a_logarithm_over_the_observed_range() -> None:
    scale = ObjectiveScale(COSTS, enabled=True, floor=0.0)
    scale.observe(torch.tensor([0.1, 0.1, 0.4]), chance=2.3)
    high = torch.tensor([0.1, 0.1, 0.4]).log().quantile(0.95)
    assert scaled_task(scale, 0.1) == pytest.approx(UTOPIA, abs=1e-6)
    expected = UTOPIA + math.log(2) / float(high - math.log(0.1))
    assert scaled_task(scale, 0.2) == pytest.approx(expected, rel=1e-5)


def test_losses_far_below_the_floor_count_alike() -> None:
    scale = ObjectiveScale(COSTS, enabled=True, floor=0.01)
    scale.observe(torch.tensor([0.1, 0.4]), chance=0.9)
    assert scaled_task(scale, 0.0) == pytest.approx(scaled_task(scale, 1e-5), abs=1e-3)
    assert scaled_task(scale, 0.0) < scaled_task(scale, 0.05) < scaled_task(scale, 0.1)


def test_networks_that_learned_nothing_do_not_set_the_range() -> None:
    alone, mixed = ObjectiveScale(COSTS, True), ObjectiveScale(COSTS, True)
    alone.observe(torch.tensor([0.1, 0.4]), chance=2.3)
    mixed.observe(torch.tensor([0.1, 2.29, 0.4, 2.3]), chance=2.3)
    assert scaled_task(alone, 0.3) == scaled_task(mixed, 0.3)


def test_the_range_follows_slowly_and_survives_saving() -> None:
    scale = ObjectiveScale(COSTS, True)
    scale.observe(torch.tensor([0.2, 0.8]), chance=2.3)
    before = scaled_task(scale, 0.2)
    scale.observe(torch.tensor([0.1, 0.4]), chance=2.3)
    after = scaled_task(scale, 0.2)
    assert before == pytest.approx(UTOPIA, abs=1e-6) and UTOPIA < after < 0.5
    other = ObjectiveScale(COSTS, True)
    other.load_state_dict(scale.state_dict())
    assert scaled_task(other, 0.2) == after


def test_scaled_objectives_have_a_gradient_in_loss_and_cost() -> None:
    scale = ObjectiveScale(COSTS, True)
    scale.observe(torch.tensor([0.1, 0.4]), chance=2.3)
    loss = torch.tensor([0.2, 0.3], requires_grad=True)
    cost = torch.tensor([[1.0], [2.0]], requires_grad=True)
    scale(loss, cost, BOTH).sum().backward()
    assert (loss.grad > 0).all() and (cost.grad > 0).all()
