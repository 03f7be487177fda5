"""Tasks of one's own: parts, loss, metric and guess, minibatches that continue, and what is wrong in one line."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.elastic import TensorTask
from modnas_fast.runtime.errors import InputError

mse = nn.functional.mse_loss


def pair(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return x, x.sum(1, keepdim=True)


def make(**changes: Any) -> TensorTask:
    parts = {"train": pair(30), "validation": pair(11, 1), "test": pair(7, 2)}
    words = {"loss": mse, "metric": mse, "quality": ("rmse", "°C"), "finish": math.sqrt}
    return TensorTask("sums", **{**parts, **words, **changes})


def test_a_guess_is_the_mean_of_the_training_targets() -> None:
    task = make()
    target, guess = pair(11, 1)[1], pair(30)[1].mean()
    assert task.chance_loss == pytest.approx(float(((target - guess) ** 2).mean()), rel=1e-5)
    assert task.chance == pytest.approx(math.sqrt(task.chance_loss))
    assert task.quality.key == "rmse_c"


def test_quality_is_that_of_the_whole_part_whatever_the_minibatches() -> None:
    task, network = make(), nn.Linear(4, 1)
    for size in (1, 4, 11):
        counts = sum(task.counts(network(x)[None], y) for x, y in task.batches("validation", size))
        assert isinstance(counts, Tensor)
        x, y = pair(11, 1)
        wanted = math.sqrt(float(mse(network(x), y).detach()))
        assert task.quality_of(counts, "validation").tolist() == pytest.approx([wanted], rel=1e-5)


def test_losses_are_those_of_each_network_and_have_gradients() -> None:
    task = make()
    y = next(task.batches("train", 5))[1]
    outputs = torch.randn(3, 5, 1, requires_grad=True)
    losses = task.losses(outputs, y)
    assert losses.tolist() == pytest.approx([task.loss(each, y).item() for each in outputs])
    losses.sum().backward()
    assert outputs.grad is not None and outputs.grad.abs().sum() > 0


def test_a_stream_gives_every_sample_once_an_epoch_and_continues() -> None:
    task = make()
    stream = task.stream("train+validation", 8, seed=5)
    assert task.size("train+validation") == 41
    seen = torch.cat([next(stream)[0] for _ in range(5)])
    assert len(torch.unique(seen, dim=0)) == 40
    for taken in range(4):
        first = task.stream("train", 7, seed=3)
        for _ in range(taken):
            next(first)
        state = first.state_dict()
        wanted = [next(first)[0] for _ in range(9)]
        again = task.stream("train", 7, seed=99)
        again.load_state_dict(state)
        assert all(torch.equal(next(again)[0], x) for x in wanted)


def test_samples_may_be_whole_numbers() -> None:
    ids = (torch.randint(9, (20, 5)), torch.randint(3, (20,)))
    loss = nn.functional.cross_entropy
    wrong = lambda outputs, y: (outputs.argmax(-1) != y).double().mean() * 100  # noqa: E731
    task = make(train=ids, validation=ids, test=ids, loss=loss, metric=wrong, quality=("error", "%"), finish=float,
                guess=torch.zeros(3))  # fmt: skip
    assert task.chance_loss == pytest.approx(math.log(3), rel=1e-5)
    assert task.inputs(25).dtype == torch.int64 and task.inputs(25).shape == (25, 5)
    assert torch.equal(task.inputs(25)[20:], ids[0][:5])
    assert task.inputs(2, "meta").device.type == "meta"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"train": (torch.zeros(3, 4), torch.zeros(2, 1))},
            "train: wanted as many samples as targets",
        ),
        (
            {"test": (torch.zeros(1, 4), torch.zeros(1, 1))},
            "test: .* at least 2, got 1 and 1",
        ),
        (
            {"validation": (torch.zeros(3, 5), torch.zeros(3, 1))},
            r"validation: samples are torch.float32 \[5\]",
        ),
        ({"validation": (torch.zeros(3, 4), torch.zeros(3, 1).long())}, r"validation: targets are torch.int64 \[1\]"),
        ({"train": torch.zeros(3, 4)}, "train: wanted two tensors"),
        ({"loss": lambda outputs, y: outputs.log().mean() * math.nan}, "loss: wanted a finite number for outputs"),
        ({"metric": lambda outputs, y: outputs @ torch.zeros(9, 9)}, "metric: it does not take outputs"),
    ],
)
def test_bad_input_is_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_classes_want_a_guess() -> None:
    classes = (torch.randn(9, 4), torch.randint(3, (9,)))
    with pytest.raises(InputError, match="guess: targets are whole numbers"):
        make(train=classes, validation=classes, test=classes)


def test_a_network_of_other_samples_or_outputs_is_one_line() -> None:
    task = make()
    with pytest.raises(InputError, match=r"space.name: a network does not take samples \[2, 4\]"):
        task.check_network(nn.Linear(5, 1))
    broken = make(loss=lambda outputs, y: nn.functional.mse_loss(outputs.reshape(y.shape), y))
    with pytest.raises(InputError, match=r"loss: it does not take outputs \[2, 3\] with targets \[2, 1\]"):
        broken.check_network(nn.Linear(4, 3))
    task.check_network(nn.Linear(4, 1))


def test_augmentation_is_refused() -> None:
    with pytest.raises(InputError, match="task.augment: sums has no augmentation"):
        make().stream("train", 4, 0, augment=True)
