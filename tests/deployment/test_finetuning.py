"""Fine-tuning that is stopped or killed ends as if unbroken; what it rests on is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_searches import config, make_images, space
from torch import nn

from modnas_fast.deployment.finetuning import FineTuning, finetune
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.runtime.stopping import Stopped, Stopper

ABOUT = {"architecture": "some"}


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
