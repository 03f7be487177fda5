"""Fine-tuning a network on a run's data, so that a killed one continues exactly where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.config import Config
from modnas_fast.runtime.checkpoint import load_checkpoint, save_checkpoint
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.optimizers import make_optimizer
from modnas_fast.runtime.progress import Reporter
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.tasks.task import Task

#: of the learning rate with which networks are trained from scratch
SHARE_OF_RATE = 0.1
#: between checkpoints; at the end there is one as well
CHECKPOINT_SECONDS = 10.0


@dataclass(frozen=True)
class FineTuning:
    """How long and how a network is trained further.

    Optimiser, weight decay, batch size and augmentation are those with which the run verifies networks; the learning
    rate is a tenth of that one, and falls to 0 by cosine.
    """

    #: passes over training and validation samples together; 0: none
    epochs: int = 0
    #: share of the loss that compares outputs with the largest network's; 0: none
    distill: float = 0.0
    #: None: a tenth of `verify.learning_rate`
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        """Raises InputError for numbers out of range."""
        if self.epochs < 0:
            raise InputError(f"--finetune: wanted at least 0 epochs, got {self.epochs}")
        if not 0 <= self.distill <= 1:
            raise InputError(f"--distill: wanted a share from 0 to 1, got {self.distill:g}")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise InputError(f"--learning-rate: wanted a positive number, got {self.learning_rate:g}")
        if self.distill and not self.epochs:
            raise InputError("--distill: goes with --finetune EPOCHS; without epochs nothing is learned")

    def told(self) -> dict[str, float | int | None]:
        """Plain values for JSON."""
        return {"epochs": self.epochs, "distill": self.distill, "learning_rate": self.learning_rate}


def finetune(
    network: nn.Module,
    task: Task,
    config: Config,
    options: FineTuning,
    path: Path,
    teacher: Callable[[], nn.Module],
    reporter: Reporter,
    stopper: Stopper,
    about: dict[str, Any],
) -> None:
    """Trains `network` in place on training and validation samples; the test part is not seen.

    Args:
        network: with the weights to begin with; left in evaluation mode.
        task: of the run.
        config: of the run.
        options: how long and how.
        path: of the checkpoint; where it is there, training continues from it.
        teacher: gives the network to be learned from, on the task's device; asked where `options.distill`.
        reporter: where progress is told.
        stopper: asked after each step whether to stop; a checkpoint is written first.
        about: what the checkpoint belongs to, plain values.

    Raises InputError where the checkpoint belongs to something else, and where the task has no distillation.
    """
    if not options.epochs:
        return
    if options.distill and not task.distils:
        raise InputError(f"--distill: outputs of {task.name} are no logits of classes or tokens; leave it out")
    size, verify = task.size("train+validation"), config.verify
    stream = task.stream("train+validation", min(verify.batch_size, size), config.seed + 11, config.task.augment)
    steps = max(1, size // min(verify.batch_size, size))
    rate = SHARE_OF_RATE * verify.learning_rate if options.learning_rate is None else options.learning_rate
    optimizer = make_optimizer(verify.optimizer, network.parameters(), rate, verify.weight_decay, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps)
    done = 0
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule, "stream": stream}
    if path.exists():
        done = _restored(load_checkpoint(path), parts, about, path)
    told_by = teacher().eval() if options.distill else None
    network.train()
    kept = time.monotonic()
    with reporter.stage("Fine-tuning", options.epochs * steps, done) as advance:
        while done < options.epochs * steps:
            x, y = next(stream)
            optimizer.zero_grad(set_to_none=True)
            _loss(network, task, x, y, told_by, options.distill).backward()
            optimizer.step()
            schedule.step()
            done += 1
            advance(done)
            due = time.monotonic() - kept >= CHECKPOINT_SECONDS
            if due or done == options.epochs * steps or stopper.requested:
                kept = time.monotonic()
                state = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]
                save_checkpoint(path, {"done": done, "about": about, **state})
            stopper.check()
    network.eval()


def _loss(network: nn.Module, task: Task, x: Tensor, y: Tensor, teacher: nn.Module | None, share: float) -> Tensor:
    outputs = network(x)[None]
    if teacher is None:
        return task.training_losses(outputs, y)[0]
    with torch.no_grad():
        told = teacher(x)[None]
    return task.distilled_losses(outputs, y, told, share)[0]


def _restored(state: dict[str, Any], parts: dict[str, Any], about: dict[str, Any], path: Path) -> int:
    """Steps that were done before. Raises InputError where the checkpoint is of another training."""
    if state.get("about") != about:
        raise InputError(
            f"OUT: {path.parent} holds the fine-tuning of another network or with other options; choose another "
            "folder, or delete it"
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    done: int = state["done"]
    return done
