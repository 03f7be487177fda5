"""The task objective with shared weights: losses on the next minibatch, training, and its state."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch.nn import functional

from modnas_fast.config import Config, make_config
from modnas_fast.datasets.task import Split, make_task
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.optimizers import cosine_decay, set_learning_rate
from modnas_fast.spaces import NB201Space
from modnas_fast.tasks import task_objective
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.task_objective import SupernetObjective, initial_supernet, network_arguments

SPACE = NB201Space()


def make_images(count: int = 30, classes: int = 3) -> ImageClassification:
    """Noise, brighter in the rows of the image's class; the validation part holds other images."""
    labels = torch.arange(count) % classes
    images = torch.randint(0, 80, (2, count, 1, 6, 6), generator=torch.Generator().manual_seed(1))
    for label in range(classes):
        images[:, labels == label, :, 2 * label : 2 * label + 2] += 150
    train, other = (Split(part.to(torch.uint8), labels) for part in images)
    task = make_task("stripes", tuple("abc")[:classes], train=train, validation=other, test=other)
    return ImageClassification(task)


def config(seed: int = 0, gradient: str = "exact", entangled: bool = False, **search: object) -> Config:
    return make_config(
        seed=seed,
        space={"channels": 2, "cells": 1, "entangled": entangled},
        architect={"gradient": gradient},
        search={"batch_size": 10, "weight_learning_rate": 0.05, "device": "cpu", **search},
        evaluation={"batch_size": 10},
    )


def make_objective(seed: int = 0, **options: object) -> SupernetObjective:
    return SupernetObjective(config(seed, **options), SPACE, make_images())


def sample(count: int = 4, seed: int = 0) -> torch.Tensor:
    return SPACE.sample(count, torch.Generator().manual_seed(seed))


def test_a_guess_among_three_classes() -> None:
    objective = make_objective()
    assert objective.chance_loss == pytest.approx(math.log(3)) and objective.chance_error == pytest.approx(200 / 3)
    assert objective.trains


def test_losses_are_cross_entropies_on_one_validation_minibatch() -> None:
    objective, onehot, losses, seen = make_objective(), sample(), [], []
    for _ in range(3):
        objective.new_batch()
        with torch.no_grad():
            loss = objective.loss(onehot)
            assert torch.equal(objective.loss(onehot), loss), "the same minibatch until the next is asked for"
            outputs = objective.supernet.predict(objective._x, onehot)
        for row in range(len(onehot)):
            torch.testing.assert_close(loss[row], functional.cross_entropy(outputs[row], objective._y))
        losses.append(loss)
        seen.append(objective._x)
    task = make_images()
    whole = torch.cat(seen).flatten(1)
    wanted = torch.cat([x for x, _ in task.batches("validation", 10)]).flatten(1)
    assert torch.equal(torch.unique(whole, dim=0), torch.unique(wanted, dim=0)), "three minibatches are all images"
    assert not torch.equal(losses[0], losses[1])


def test_a_sample_gets_a_gradient_and_weights_get_none() -> None:
    objective, onehot = make_objective(), sample().requires_grad_()
    objective.new_batch()
    (gradient,) = torch.autograd.grad(objective.loss(onehot).sum(), onehot)
    assert gradient.any() and all(p.grad is None for p in objective.supernet.parameters())


def step_of(objective: SupernetObjective, onehot: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The gradient of uneven losses by samples, and the weights after a step."""
    objective.new_batch()
    leaf = onehot.clone().requires_grad_()
    losses = objective.loss(leaf, True)
    (gradient,) = torch.autograd.grad((losses * torch.arange(1.0, len(losses) + 1)).sum(), leaf)
    objective.train_step(onehot, 0.5, True)
    return gradient, [parameter.detach() for parameter in objective.supernet.parameters()]


@pytest.mark.parametrize("chunk", [1, 3, 9])
def test_devices_at_a_time_change_nothing(chunk: int) -> None:
    whole, parts = (step_of(make_objective(device_chunk=size), sample()) for size in (None, chunk))
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-4, atol=1e-5)
    for mine, wanted in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


def test_the_published_gradient_reaches_the_supernet() -> None:
    objective, onehot = make_objective(gradient="published"), sample().requires_grad_()
    objective.new_batch()
    (found,) = torch.autograd.grad(objective.loss(onehot, True).sum(), onehot)
    direct = objective.supernet(objective._x, onehot, objective._y, hard=True, exact=False)
    (wanted,) = torch.autograd.grad(direct.sum(), onehot)
    torch.testing.assert_close(found, wanted)
    exact = objective.supernet(objective._x, onehot, objective._y, hard=True, exact=True)
    assert not torch.allclose(found, torch.autograd.grad(exact.sum(), onehot)[0])


def test_activations_in_bfloat16_stay_close() -> None:
    torch.manual_seed(0)
    exact, rounded = (step_of(make_objective(activations=name), sample()) for name in ("float32", "bfloat16"))
    assert all(parameter.dtype == torch.float32 and parameter.isfinite().all() for parameter in rounded[1])
    cosine = functional.cosine_similarity(exact[0].flatten(), rounded[0].flatten(), dim=0)
    assert cosine > 0.9 and not torch.equal(exact[0], rounded[0])


def test_entangled_kernels_can_be_asked_for() -> None:
    names = [name for name, _ in make_objective(entangled=True).supernet.named_parameters()]
    assert any("kernels_3x3" in name for name in names) and not any("kernels_1x1" in name for name in names)


def test_networks_too_large_for_memory_are_told_before_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = make_objective()
    monkeypatch.setattr(task_objective, "free_memory", lambda device: 1000)
    with pytest.raises(InputError, match="search.batch_size: one network on 10 images takes"):
        objective.train_step(sample(), 0.0, True)
    with pytest.raises(InputError, match="evaluation.batch_size: the error of a network on .* images at a time takes"):
        make_objective()


def test_training_lowers_the_loss_and_its_rate() -> None:
    objective, onehot = make_objective(), SPACE.encode([SPACE.architecture([3] * 6)])
    objective.new_batch()
    with torch.no_grad():
        before = float(objective.loss(onehot))
    rates = []
    for step in range(60):
        objective.train_step(onehot, step / 60)
        rates.append(objective.learning_rate)
    with torch.no_grad():
        assert float(objective.loss(onehot)) < 0.3 * before
    assert float(objective.errors(onehot)) < 20
    assert rates == sorted(rates, reverse=True) and rates[0] == 0.05
    objective.train_step(onehot, 1.0)
    assert objective.learning_rate == pytest.approx(0.05 / 25)


def test_a_restored_objective_goes_on_like_the_first() -> None:
    """Broken inside an epoch of both streams."""
    objective = make_objective()
    for step in range(4):
        objective.new_batch()
        objective.train_step(sample(seed=step), step / 10)
    kept = io.BytesIO()
    torch.save(objective.state_dict(), kept)
    kept.seek(0)
    other = make_objective(seed=5)
    other.load_state_dict(torch.load(kept, weights_only=True))
    for step in range(4, 9):
        losses = []
        for one in (objective, other):
            one.new_batch()
            with torch.no_grad():
                losses.append(one.loss(sample(seed=step)))
            one.train_step(sample(seed=step), step / 10)
        assert torch.equal(*losses) and objective.learning_rate == other.learning_rate
    assert torch.equal(objective.errors(sample()), other.errors(sample()))


def test_the_seed_alone_draws_the_weights() -> None:
    state = torch.get_rng_state()
    torch.manual_seed(1)
    first = initial_supernet(config(), SPACE, make_images()).state_dict()
    torch.manual_seed(2)
    again = initial_supernet(config(), SPACE, make_images()).state_dict()
    assert torch.initial_seed() == 2, "the global generator is left alone"
    torch.set_rng_state(state)
    other = initial_supernet(config(1), SPACE, make_images()).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_networks_are_built_as_configured() -> None:
    wanted = {
        "image_channels": 1, "classes": 3, "input_shape": (1, 6, 6), "channels": 2, "cells": 1, "reduction": "pool",
    }  # fmt: skip
    assert network_arguments(config(), make_images()) == wanted
    told = network_arguments(config(), make_images().description()["network"])
    assert told == {**wanted, "input_shape": [1, 6, 6]}


# ---- schedules ----


def test_half_a_cosine_leads_from_first_to_last() -> None:
    rates = [cosine_decay(0.4, 0.1, share / 8) for share in range(9)]
    assert rates[0] == pytest.approx(0.4) and rates[8] == pytest.approx(0.1) and rates[4] == pytest.approx(0.25)
    assert rates == sorted(rates, reverse=True) and rates[0] - rates[1] < rates[3] - rates[4]


def test_a_rate_is_that_of_all_groups() -> None:
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": [second], "lr": 3.0}], lr=1.0)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
