"""Fine-tuning that is stopped or killed ends as if unbroken; what it rests on is checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_searches import config, make_images, space
from torch import Tensor, nn

from modnas_fast.datasets.vocabulary import Bytes
from modnas_fast.deployment.finetuning import FineTuning, finetune
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.runtime.stopping import Stopped, Stopper
from modnas_fast.tasks.buckets import Sentence
from modnas_fast.tasks.language import LanguageModelling
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.tensor_task import TensorTask
from modnas_fast.tasks.translation import Translation

ABOUT = {"architecture": "some"}
VOCABULARY = 20


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return space.build(space.architecture([3, 2, 1, 4, 3, 2]), image_channels=1, classes=3, channels=2, cells=1)


class StopsAfter(Stopper):
    """Asked to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    @property
    def requested(self) -> int:
        self.left -= 1
        if self.left == 0:
            self.request(15)
        return super().requested


def tuned(path: Path, stopper: Stopper | None = None, about: dict[str, Any] = ABOUT, **options: Any) -> nn.Module:
    made = network()
    task = make_images()
    finetune(
        made, task, config(), FineTuning(**options), path, lambda: network(1), Silent(), stopper or Stopper(), about
    )
    return made


@pytest.mark.parametrize("distill", [0.0, 0.5])
def test_stopped_it_ends_as_if_unbroken(distill: float, tmp_path: Path) -> None:
    whole = tuned(tmp_path / "whole.pt", epochs=3, distill=distill).state_dict()
    with pytest.raises(Stopped):
        tuned(tmp_path / "broken.pt", StopsAfter(2), epochs=3, distill=distill)
    broken = tuned(tmp_path / "broken.pt", epochs=3, distill=distill).state_dict()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not torch.equal(whole["stem.0.weight"], network().state_dict()["stem.0.weight"])


def test_it_lowers_the_loss(tmp_path: Path) -> None:
    task, (x, y) = make_images(), next(make_images().batches("test", 30))
    before, after = network().eval(), tuned(tmp_path / "a.pt", epochs=20, learning_rate=0.05).eval()
    assert task.loss(after(x), y) < 0.8 * task.loss(before(x), y)


def test_distillation_follows_the_teacher(tmp_path: Path) -> None:
    (x, _) = next(make_images().batches("test", 30))
    told = network(1).eval()(x).softmax(-1)
    apart = [
        (tuned(tmp_path / f"{share}.pt", epochs=20, learning_rate=0.05, distill=share)(x).softmax(-1) - told)
        .abs()
        .mean()
        for share in (0.0, 1.0)
    ]
    assert apart[1] < 0.5 * apart[0]


def letters() -> TensorTask:
    """Ids and what follows each: the next in a circle of 20."""
    ids = torch.arange(40 * 9).view(40, 9) * 7 % VOCABULARY

    def nats(outputs: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.flatten(0, -2), y.flatten())

    parts = [(rows[:, :-1], rows[:, 1:]) for rows in (ids[:24], ids[24:32], ids[32:])]
    return TensorTask("letters", *parts, loss=nats, metric=nats, quality=("nats", ""), guess=torch.zeros(8, VOCABULARY))


def tokens() -> LanguageModelling:
    ids = torch.arange(200) * 3 % VOCABULARY
    return LanguageModelling("tokens", dict.fromkeys(("train", "validation", "test"), ids), 8, VOCABULARY)


def sentences() -> Translation:
    ids = torch.arange(3, 9)
    pairs = [Sentence(ids[:length], ids[:length].flip(0)) for length in (3, 4, 5, 6)] * 3
    return Translation("pairs", dict.fromkeys(("train", "validation", "test"), pairs), Bytes())


class Told(nn.Module):
    """Logits from each token alone, of a translation's target."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(vocabulary, 16), nn.Linear(16, vocabulary))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[:, 1] if x.dim() == 3 else x)


def told_by_tokens(task: Task, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Told(task.network.get("vocabulary", VOCABULARY))


@pytest.mark.parametrize("make", [letters, tokens, sentences])
def test_logits_of_others_than_images_follow_the_teacher(make: Callable[[], Task], tmp_path: Path) -> None:
    task = make()
    x, y = next(task.batches("test", 4))
    teacher = told_by_tokens(task, 1).eval()
    told = teacher(x).detach().softmax(-1)
    assert task.distils
    apart = []
    for share in (0.0, 1.0):
        learner, path = told_by_tokens(task, 0), tmp_path / f"{share}.pt"
        options = FineTuning(epochs=25, learning_rate=0.02, distill=share)
        finetune(
            learner,
            task,
            config(verify={"optimizer": "adamw"}, task={"augment": False}),
            options,
            path,
            lambda: teacher,
            Silent(),
            Stopper(),
            ABOUT,
        )
        counted = y != getattr(task, "padding", -1)
        apart.append(float((learner(x).detach().softmax(-1) - told).abs().sum(-1)[counted].mean()))
    assert apart[1] < 0.5 * apart[0]


def test_a_task_without_logits_is_refused_before_training(tmp_path: Path) -> None:
    x = torch.randn(8, 4)
    mse = nn.functional.mse_loss
    task = TensorTask("sums", *3 * [(x, x.sum(1, keepdim=True))], loss=mse, metric=mse, quality=("mse", ""))
    assert not task.distils
    with pytest.raises(InputError, match="--distill: outputs of sums are no logits of classes or tokens; leave it out"):
        finetune(nn.Linear(4, 1), task, config(), FineTuning(1, 0.5), tmp_path / "a.pt", lambda: nn.Linear(4, 1),
                 Silent(), Stopper(), ABOUT)  # fmt: skip


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        tuned(tmp_path / "a.pt", StopsAfter(2), epochs=8)
    with pytest.raises(InputError, match="OUT: .* holds the fine-tuning of another network"):
        tuned(tmp_path / "a.pt", about={"architecture": "other"}, epochs=8)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"epochs": -1}, "--finetune: wanted at least 0 epochs, got -1"),
        ({"epochs": 1, "distill": 2.0}, "--distill: wanted a share from 0 to 1, got 2"),
        ({"distill": 0.5}, "--distill: goes with --finetune EPOCHS"),
        ({"epochs": 1, "learning_rate": 0.0}, "--learning-rate: wanted a positive number, got 0"),
    ],
)
def test_numbers_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FineTuning(**options)
