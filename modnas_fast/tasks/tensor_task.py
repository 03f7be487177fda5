"""A task of one's own: samples and targets in tensors, a loss, and a metric that is minimised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.objective import Objective
from modnas_fast.tasks.distilling import distilled
from modnas_fast.tasks.task import Batch, Part, Task

#: of a number of one's own: outputs [B, ...] of a network and targets [B, ...] of a minibatch, to a mean []
Mean = Callable[[Tensor, Tensor], Tensor]
#: samples of each part at least
LEAST = 2


class TensorTask(Task):
    """Samples and targets in memory, with a loss and a metric of one's own.

    Args:
        name: of the task, in reports.
        train: samples x [N, ...] and targets y [N, ...], which train weights.
        validation: the same, for the search's losses and qualities.
        test: the same, for reports alone.
        loss: mean over a minibatch, [], of outputs [B, ...] and targets [B, ...]; differentiable in the outputs.
        metric: the same without a gradient: what the first objective is, the lower the better. Means over minibatches
            are averaged by their sizes; `finish` makes of that the quality, such as `math.sqrt` of a mean square.
        quality: what the metric is called and its unit, `("rmse", "°C")`.
        guess: outputs [...] of one sample without having looked at it, of which loss and metric are those of a guess;
            None: the mean of the training targets, which must then be floats of the outputs' shape.
        finish: see `metric`.
        network: what else `build` of the searched space takes, such as `{"classes": 10}`; plain values.

    x goes to networks as it is: floats, or whole numbers such as ids. Raises InputError, in a line that names the
    argument, for parts without samples, of different lengths or shapes, and for a loss or metric that is no finite
    number.
    """

    computes = "outputs of samples x"

    def __init__(
        self,
        name: str,
        train: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        *,
        loss: Mean,
        metric: Mean,
        quality: tuple[str, str],
        guess: Tensor | None = None,
        finish: Callable[[float], float] = float,
        network: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._parts = {"train": train, "validation": validation, "test": test}
        for part, pair in self._parts.items():
            _check_part(part, pair, train)
        self._loss, self._metric, self._finish = loss, metric, finish
        self.quality = Objective(*quality)
        self.network = {"input_shape": tuple(train[0].shape[1:]), **(network or {})}
        self._guess = _guess_of(train[1]) if guess is None else guess
        y = validation[1]
        outputs = self._guess.expand(len(y), *self._guess.shape)
        self.chance_loss = _number("loss", loss, outputs, y)
        self.chance = finish(_number("metric", metric, outputs, y))

    # ---- data ----

    @property
    def device(self) -> torch.device:
        return self._parts["train"][0].device

    def to(self, device: torch.device | str) -> TensorTask:
        moved = object.__new__(TensorTask)
        moved.__dict__.update(self.__dict__)
        moved._parts = {part: (x.to(device), y.to(device)) for part, (x, y) in self._parts.items()}
        return moved

    def size(self, part: Part) -> int:
        return len(self._pair(part)[0])

    def _pair(self, part: Part) -> tuple[Tensor, Tensor]:
        pairs = [self._parts[name] for name in part.split("+")]
        if len(pairs) == 1:
            return pairs[0]
        return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])

    def stream(self, part: Part, batch_size: int, seed: int, augment: bool | str = False) -> TensorStream:
        """Shuffled minibatches. Raises InputError for `augment`, of which this task knows nothing."""
        if augment:
            raise InputError(f"task.augment: {self.name} has no augmentation; set it to false")
        x, y = self._pair(part)
        return TensorStream(x, y, batch_size, seed)

    def batches(self, part: Part, batch_size: int) -> Iterator[Batch]:
        x, y = self._pair(part)
        yield from zip(x.split(batch_size), y.split(batch_size))

    def inputs(self, count: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """The first training samples, again and again; floats in `dtype`."""
        x = self._parts["train"][0]
        dtype = dtype if x.is_floating_point() else x.dtype
        if torch.device(device).type == "meta":
            return torch.empty(count, *x.shape[1:], device=device, dtype=dtype)
        return x[torch.arange(count, device=x.device) % len(x)].to(device, dtype)

    # ---- loss and quality ----

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """One's own loss [S] of outputs [S, B, ...]."""
        return torch.stack([self._loss(each, y) for each in outputs])

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self._loss(outputs, y)

    @property
    def distils(self) -> bool:
        """Whether outputs [B, ..., V] of the guess are logits for whole numbers [B, ...]."""
        y = self._parts["train"][1]
        whole = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
        return whole and self._guess.dim() > 0 and self._guess.shape[:-1] == y.shape[1:]

    def distilled_losses(self, outputs: Tensor, y: Tensor, told: Tensor, share: float) -> Tensor:
        """One's own losses [S], and in their `share` the cross-entropies for the probabilities that were told.

        Targets below 0, as losses of torch leave out, count in neither. Raises InputError where outputs are no logits.
        """
        if not self.distils:
            return super().distilled_losses(outputs, y, told, share)
        return distilled(self.training_losses(outputs, y), outputs, told, share, y >= 0)

    def counts(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The metric times the samples, and the samples, float64 [S, 2]."""
        means = torch.stack([torch.as_tensor(self._metric(each, y)).detach().double() for each in outputs])
        return torch.stack([means.to(outputs.device) * len(y), torch.full_like(means, len(y))], dim=-1)

    def quality_of(self, counts: Tensor, part: Part) -> Tensor:
        """What `finish` makes of the mean of the metric [S], float64."""
        means = counts[..., 0] / counts[..., 1]
        return torch.tensor([self._finish(value) for value in means.tolist()], dtype=torch.float64)

    def check_network(self, network: nn.Module) -> None:
        """Raises InputError where a network does not take the samples, or the loss and the metric not its outputs."""
        x, y = (part[:LEAST] for part in self._parts["train"])
        try:
            outputs = network.eval()(x)
        except Exception as error:  # whatever somebody's module does
            raise InputError(
                f"space.name: a network does not take samples {list(x.shape)}: {one_line(error)}"
            ) from error
        for word, mean in (("loss", self._loss), ("metric", self._metric)):
            _number(word, mean, outputs, y)


class TensorStream:
    """Epoch after epoch of samples in a new order; a last, smaller minibatch of an epoch is left out.

    Args:
        x, y: [N, ...].
        batch_size: at most N count.
        seed: of the orders.
    """

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, seed: int) -> None:
        self._x, self._y = x, y
        self._size = min(batch_size, len(x))
        self._generator = torch.Generator().manual_seed(seed)
        self._begin()

    def _begin(self) -> None:
        self._state, self._taken = self._generator.get_state(), 0
        self._order = torch.randperm(len(self._x), generator=self._generator)

    def __next__(self) -> Batch:
        if (self._taken + 1) * self._size > len(self._x):
            self._begin()
        rows = self._order[self._taken * self._size : (self._taken + 1) * self._size].to(self._x.device)
        self._taken += 1
        return self._x[rows], self._y[rows]

    def state_dict(self) -> dict[str, Any]:
        """The generator's state at the begin of the epoch, and the minibatches taken since."""
        return {"epoch_start": self._state, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self._generator.set_state(state["epoch_start"])
        self._begin()
        self._taken = state["taken"]


def _check_part(part: str, pair: tuple[Tensor, Tensor], train: tuple[Tensor, Tensor]) -> None:
    if len(pair) != 2 or not all(isinstance(each, Tensor) and each.dim() for each in pair):
        raise InputError(f"{part}: wanted two tensors, samples [N, ...] and targets [N, ...]")
    (x, y), (first, target) = pair, train
    if len(x) != len(y) or len(x) < LEAST:
        raise InputError(f"{part}: wanted as many samples as targets, at least {LEAST}, got {len(x)} and {len(y)}")
    for word, mine, wanted in (("samples", x, first), ("targets", y, target)):
        if mine.shape[1:] != wanted.shape[1:] or mine.dtype != wanted.dtype:
            raise InputError(
                f"{part}: {word} are {mine.dtype} {list(mine.shape[1:])}, those of train {wanted.dtype} "
                f"{list(wanted.shape[1:])}; make them alike"
            )


def _guess_of(targets: Tensor) -> Tensor:
    if not targets.is_floating_point():
        raise InputError("guess: targets are whole numbers, of which there is no mean; give outputs [...] of a guess")
    return targets.mean(0)


def _number(word: str, mean: Mean, outputs: Tensor, y: Tensor) -> float:
    """A loss or metric as a number. Raises InputError where it is none."""
    try:
        value = float(torch.as_tensor(mean(outputs, y)).detach())
    except Exception as error:  # whatever somebody's function does
        raise InputError(
            f"{word}: it does not take outputs {list(outputs.shape)} with targets {list(y.shape)}: {one_line(error)}"
        ) from error
    if not torch.isfinite(torch.tensor(value)):
        raise InputError(f"{word}: wanted a finite number for outputs {list(outputs.shape)}, got {value}")
    return value
