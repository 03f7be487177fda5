"""The task objective of a search: the loss of sampled architectures, from a supernet or from a surrogate.

`SupernetObjective` is the paper's way: shared weights w, trained on the way, a minibatch per call. A surrogate
(`surrogate.SurrogateObjective`) answers from a regression on known errors and has nothing to train.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from modnas_fast.config import Config
from modnas_fast.datasets import BatchStream, ImageTask
from modnas_fast.runtime.free_memory import free_memory
from modnas_fast.runtime.implementations import chosen
from modnas_fast.runtime.optimizers import cosine_decay, set_learning_rate
from modnas_fast.runtime.placement import search_device
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.nb201.memory import Plan, networks_at_a_time, plan
from modnas_fast.supernets.captured import CapturedPasses
from modnas_fast.supernets.parallel import workers
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.supernet import How, Supernet
from modnas_fast.tasks.supernet_errors import SupernetErrors, even_batch_size

if TYPE_CHECKING:
    from modnas_fast.spaces.nb201.supernet import NB201Supernet


class TaskObjective(Protocol):
    """What a search asks for."""

    #: loss of a guess
    chance_loss: float
    #: error in percent of a guess
    chance_error: float
    #: whether there are weights w to train
    trains: bool
    #: where it computes: samples and losses lie there
    device: torch.device

    @property
    def learning_rate(self) -> float:  # pragma: no cover - protocol
        """Of w's optimiser."""

    def new_batch(self) -> None:  # pragma: no cover - protocol
        """Further losses are those on the next minibatch."""

    def loss(self, onehot: Tensor, hard: bool | None = None) -> Tensor:  # pragma: no cover - protocol
        """Task loss [S] of samples [S, N], with a gradient where the samples have one.

        `hard` tells whether all samples are one-hots, where that is known.
        """

    def train_step(self, onehot: Tensor, share: float, hard: bool | None = None) -> None:  # pragma: no cover - protocol
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

    def __init__(self, config: Config, space: SearchSpace, task: ImageTask, device: torch.device | None = None) -> None:
        options = config.search
        self.device = device or search_device(options.device)
        task = task.to(self.device)
        self.supernet = initial_supernet(config, space, task).to(self.device)
        captured = options.capture and self.device.type == "cuda"
        self._passes = CapturedPasses(self.supernet) if captured else Passes(self.supernet)
        self._activations = _activations(options.activations, self.device)
        self._exact = config.architect.gradient == "exact"
        self._chunk = options.device_chunk
        self._plans: dict[tuple[object, ...], Plan] = {}
        self.chance_loss = math.log(task.num_classes)
        self.chance_error = 100 * (1 - 1 / task.num_classes)
        self.errors = supernet_errors(config, self.supernet, task)
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

    @property
    def learning_rate(self) -> float:
        """Of the last step of w."""
        return self._optimizer.param_groups[0]["lr"]

    def new_batch(self) -> None:
        """Further losses are those on the next validation minibatch."""
        self._x, self._y = next(self._validation)

    def loss(self, onehot: Tensor, hard: bool | None = None) -> Tensor:
        """Cross-entropy in nats [S] of samples [S, N]."""
        x = self._x.to(self._activations)
        chunk, how = self._plan(x, onehot, hard)
        return self._passes.device_losses(x, onehot, self._y, chunk, **how)

    def train_step(self, onehot: Tensor, share: float, hard: bool | None = None) -> None:
        """One SGD step on the mean loss of architectures [T, N] on the next training minibatch."""
        x, y = next(self._train)
        x, onehot = x.to(self._activations), onehot.detach()
        set_learning_rate(self._optimizer, cosine_decay(self._highest_rate, self._highest_rate / 25, share))
        self._optimizer.zero_grad(set_to_none=True)
        chunk, how = self._plan(x, onehot, hard)
        self._passes.add_weight_gradients(x, onehot, y, chunk, **how)
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self._gradient_clip)
        self._optimizer.step()

    def _plan(self, x: Tensor, onehot: Tensor, hard: bool | None) -> tuple[int, How]:
        """Devices at a time, and how; made once per kind of pass, so that a search repeats itself bit for bit."""
        if self._chunk is not None:
            return self._chunk, {"hard": hard, "exact": self._exact}
        by_samples = onehot.requires_grad
        computed = "weights" if hard and not by_samples else "samples" if hard and not self._exact else "all"
        key = (x.shape, len(onehot), computed)
        if key not in self._plans:
            implementation = chosen("mixed_cell", self.device.type).name
            free = free_memory(self.device)
            count = workers(self.device, len(onehot))
            supernet = cast("NB201Supernet", self.supernet)
            self._plans[key] = plan(
                supernet, x.shape, x.element_size(), len(onehot), implementation, computed, free, count
            )
        found = self._plans[key]
        return found.chunk, {"hard": hard, "exact": self._exact, "recompute": found.recompute}

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


def initial_supernet(config: Config, space: SearchSpace, task: ImageTask) -> Supernet:
    """The supernet of a run with weights drawn from the run's seed; the global generator stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        arguments = network_arguments(config, task.image_shape[0], task.num_classes)
        return space.supernet(**arguments, **config.space.supernet)


def supernet_errors(config: Config, supernet: Supernet, task: ImageTask) -> SupernetErrors:
    """Errors on the validation part, as many networks at a time as fit into the free memory.

    Args:
        config: the run's configuration.
        supernet, task: on one device.

    Raises InputError where not even one network fits.
    """
    device = task.validation.images.device
    batch = even_batch_size(len(task.validation), config.evaluation.batch_size)
    count = networks_at_a_time(
        cast("NB201Supernet", supernet),
        torch.Size([batch, *task.image_shape]),
        torch.float32.itemsize,
        chosen("mixed_cell", device.type).name,
        free_memory(device),
    )
    return SupernetErrors(supernet, task, task.validation, config.evaluation.batch_size, count)


def network_arguments(config: Config, image_channels: int, classes: int) -> dict[str, Any]:
    """What `space.build` and the supernet are built with."""
    return {"image_channels": image_channels, "classes": classes, **config.space.network}


def _activations(choice: str, device: torch.device) -> torch.dtype:
    """The number format that `search.activations` asks for."""
    if choice == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[choice]
