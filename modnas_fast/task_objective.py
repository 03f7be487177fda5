"""The task objective of a search: the loss of sampled architectures, from a supernet or from a surrogate.

`SupernetObjective` is the paper's way: shared weights w, trained on the way, a minibatch per call. A surrogate
(`surrogate.SurrogateObjective`) answers from a regression on known errors and has nothing to train.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from modnas_fast.config import Config
from modnas_fast.datasets import BatchStream, ImageTask
from modnas_fast.evaluate import SupernetErrors
from modnas_fast.optimizers import cosine_decay, set_learning_rate
from modnas_fast.placement import search_device
from modnas_fast.spaces import SearchSpace
from modnas_fast.supernets import make_supernet
from modnas_fast.supernets.captured import CapturedSupernet, LossPass


class TaskObjective(Protocol):
    """What a search asks for."""

    #: loss of a guess
    chance_loss: float
    #: error in percent of a guess
    chance_error: float
    #: whether there are weights w to train
    trains: bool
    #: of w's optimiser
    learning_rate: float
    #: where it computes: samples and losses lie there
    device: torch.device

    def new_batch(self) -> None:  # pragma: no cover - protocol
        """Further losses are those on the next minibatch."""

    def loss(self, onehot: Tensor, hard: bool | None = None) -> Tensor:  # pragma: no cover - protocol
        """Task loss [S] of samples [S, N], with a gradient where the samples have one.

        `hard` tells whether all samples are one-hots, where that is known.
        """

    def train_step(
        self, onehot: Tensor, share: float, hard: bool | None = None
    ) -> None:  # pragma: no cover - protocol
        """One step of w on architectures [T, N]; `share` of the schedule is over; `hard` as above."""

    def errors(self, onehot: Tensor) -> Tensor:  # pragma: no cover - protocol
        """Errors in percent [n] of canonical architectures [n, N]; both are on the CPU."""

    def state_dict(self) -> dict[str, Any]:  # pragma: no cover - protocol
        """What `load_state_dict` needs to continue here."""

    def load_state_dict(self, state: dict[str, Any]) -> None:  # pragma: no cover - protocol
        """Continues where `state` was taken."""


class SupernetObjective:
    """Cross-entropy and errors with the shared weights w of a supernet.

    Args:
        config: the run's configuration.
        space: the search space.
        task: images; `train` is for w, `validation` for losses and errors.
        device: for weights and images; None: the one that `config.search.device` asks for.

    On a GPU nothing but `errors` waits for it, and the supernet's passes are captured if `config.search.capture`.
    """

    trains = True

    def __init__(
        self, config: Config, space: SearchSpace, task: ImageTask, device: torch.device | None = None
    ) -> None:
        options = config.search
        self.device = device or search_device(options.device)
        task = task.to(self.device)
        self.supernet = initial_supernet(config, space, task).to(self.device)
        self._frozen_loss, self._loss = self._passes(options.capture)
        self.chance_loss = math.log(task.num_classes)
        self.chance_error = 100 * (1 - 1 / task.num_classes)
        self.errors = SupernetErrors(self.supernet, task, task.validation, config.evaluation.batch_size)
        self._train = BatchStream(task, task.train, options.batch_size, config.seed + 1, config.task.augment)
        self._validation = BatchStream(task, task.validation, options.batch_size, config.seed + 2)
        self._highest_rate = options.weight_learning_rate
        self._gradient_clip = options.gradient_clip
        self._optimizer = torch.optim.SGD(
            self.supernet.parameters(),
            lr=options.weight_learning_rate,
            momentum=options.weight_momentum,
            weight_decay=options.weight_decay,
        )

    def _passes(self, capture: bool) -> tuple[LossPass, LossPass]:
        """The loss for a step of Φ, in which w may be frozen, and the loss for a step of w."""
        if not (capture and self.device.type == "cuda"):
            return self.supernet, self.supernet
        captured = CapturedSupernet(self.supernet)
        return captured.frozen_loss, captured.loss

    @property
    def learning_rate(self) -> float:
        """Of the last step of w."""
        return self._optimizer.param_groups[0]["lr"]

    def new_batch(self) -> None:
        """Further losses are those on the next validation minibatch."""
        self._x, self._y = next(self._validation)

    def loss(self, onehot: Tensor, hard: bool | None = None) -> Tensor:
        """Cross-entropy in nats [S] of samples [S, N]."""
        return self._frozen_loss(self._x, onehot, self._y, hard)

    def train_step(self, onehot: Tensor, share: float, hard: bool | None = None) -> None:
        """One SGD step on the mean loss of architectures [T, N] on the next training minibatch."""
        x, y = next(self._train)
        set_learning_rate(self._optimizer, cosine_decay(self._highest_rate, self._highest_rate / 25, share))
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(x, onehot, y, hard).mean().backward()
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self._gradient_clip)
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and the places in the streams of minibatches."""
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "train": self._train.state_dict(),
            "validation": self._validation.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.supernet.load_state_dict(state["supernet"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._train.load_state_dict(state["train"])
        self._validation.load_state_dict(state["validation"])


def initial_supernet(config: Config, space: SearchSpace, task: ImageTask) -> nn.Module:
    """The supernet of a run with weights drawn from the run's seed; the global generator stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_supernet(space, **network_arguments(config, task.image_shape[0], task.num_classes))


def network_arguments(config: Config, image_channels: int, classes: int) -> dict[str, int | str]:
    """What `space.build` and the supernet are built with."""
    return {
        "image_channels": image_channels,
        "classes": classes,
        "channels": config.space.channels,
        "cells": config.space.cells,
        "reduction": config.space.reduction,
    }
