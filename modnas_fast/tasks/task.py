"""What a task is: data, loss and a metric of quality, which is the first objective of every search.

A search asks a task for minibatches (x, y) and hands outputs of many networks back. What x, outputs and y are the task
and the space's networks agree on; nothing between them looks inside. Images are `tasks.images`. Language is a further
subclass: x are token ids [B, L], outputs logits [S, B, L, V] or what makes them, y the next tokens; `inputs` gives ids,
`counts` the summed nats and the number of tokens, [S, 2], and `quality_of` their perplexity. Translation packs the
tokens of source and target side by side in one x. `tasks.make` makes the task that a configuration names; there a new
one enters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from modnas_fast.devices.machine_costs import LATENCY
from modnas_fast.devices.measure import Timing, normals_of
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.supernet import Outputs

#: `train` is for the supernet's weights, `validation` for the hypernetwork, `test` for reports alone; the first two
#: together train the networks that are verified
Part = Literal["train", "validation", "train+validation", "test"]
Batch = tuple[Tensor, Tensor]
Self = TypeVar("Self", bound="Task")


class Stream(Protocol):
    """Minibatches (x, y) without end, which can be saved and continued exactly."""

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]:
        """The place in the stream."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        ...


class Task(ABC):
    """Data in parts, the loss of outputs, and their quality. Below, S networks are judged on B samples at a time.

    Everything lies on one device. What computes with x, outputs and y must not wait for a GPU in `losses`.
    """

    name: str
    #: what was done to the data on the way in, in words
    notes: tuple[str, ...] = ()
    #: what the first objective is called and its unit; it is minimised
    quality: Objective
    #: costs in ms that a machine can measure of its networks; the first is what a whole pass over a batch takes
    timed: ClassVar[tuple[str, ...]] = (LATENCY,)
    #: quality of a guess, in the quality's unit
    chance: float
    #: loss of a guess
    chance_loss: float
    #: what networks must know of the task: `input_shape` of one sample, and whatever else `build` and `supernet` of the
    #: spaces for this kind of task take, such as image_channels and classes; plain values
    network: dict[str, Any]
    #: names of what `measures_of` gives; the lower, the better
    measures: ClassVar[tuple[str, ...]] = ()
    #: dimensions of x behind the first that a deployed network shall take in any size, with what they are
    varying: ClassVar[dict[int, str]] = {}
    #: in words, what a network gives for x
    computes: ClassVar[str] = "outputs of inputs x"
    #: whether `losses` and `counts` also take `modnas_fast.supernets.LinearOutputs`; others get their logits
    takes_linear_outputs = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample of x."""
        return tuple(self.network["input_shape"])

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the data lies."""

    @abstractmethod
    def to(self: Self, device: torch.device | str) -> Self:
        """The same task with its data on `device`."""

    @abstractmethod
    def size(self, part: Part) -> int:
        """How many samples a part has."""

    @abstractmethod
    def stream(self, part: Part, batch_size: int, seed: int, augment: bool | str = False) -> Stream:
        """Shuffled minibatches of a part, in epochs; of its size where `batch_size` is larger.

        `seed` fixes their order, and how samples are augmented, where the task can do that.
        """

    @abstractmethod
    def batches(self, part: Part, batch_size: int) -> Iterator[Batch]:
        """One pass over a part in fixed order; the last minibatch may be smaller."""

    @abstractmethod
    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean losses [S] of outputs [S, B, ...] on one minibatch, differentiable in the outputs."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss [] of the outputs [B, ...] of a single network."""
        return self.losses(outputs[None], y)[0]

    def training_losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """What trains weights, as `losses`: the same, unless a task regularises."""
        return self.losses(outputs, y)

    def mean_over(self, y: Tensor) -> Tensor:
        """Of how many samples, or whatever else of a minibatch counts, `losses` are the mean: [], float64."""
        return torch.full((), len(y), dtype=torch.float64, device=y.device)

    @property
    def distils(self) -> bool:
        """Whether there are `distilled_losses` of plain networks' outputs: where these are logits."""
        return type(self).distilled_losses is not Task.distilled_losses

    def distilled_losses(self, outputs: Tensor, y: Tensor, told: Tensor, share: float) -> Tensor:
        """As `training_losses`, `share` of them how far outputs are from those [1, B, ...] of a better network.

        Raises InputError where a task has none such.
        """
        raise InputError(f"search.distillation: there is none for {self.name}; set it to 0")

    @abstractmethod
    def counts(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Of outputs [S, B, ...] what adds up over minibatches: [S] or [S, k], whole numbers or float64."""

    @abstractmethod
    def quality_of(self, counts: Tensor, part: Part) -> Tensor:
        """The quality [S], float64, of counts added up over a whole part."""

    def inputs(self, count: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """A made-up x of `count` samples, for measuring, always the same; `dtype` is that of a network's weights.

        Normal random numbers; a task whose x are ids gives ids.
        """
        return normals_of(self.input_shape)(count, device, dtype)

    def timing(self, cost: str) -> Timing:
        """What is timed of a network for a cost, one of `timed`: by default a whole pass over a batch."""
        return Timing(self.inputs)

    def measures_of(self, network: nn.Module, samples: int | None = None) -> dict[str, float]:
        """Further measures of a trained network on the test part, by name; nothing is chosen by them.

        `samples`: of so many samples alone, and in the quickest way; None: of all of them, as they are published.
        Raises InputError where they cannot be had; a run notes that and goes on.
        """
        return {}

    def sample_of(self, network: nn.Module, seed: int) -> dict[str, Any] | None:
        """What a trained network makes of the test part, to be shown: plain values for JSON. None: nothing to show.

        `seed` fixes what is drawn. Raises InputError where it cannot be shown here.
        """
        return None

    def preparation(self) -> dict[str, Any]:
        """How somebody makes x of raw data and reads outputs, plain values for JSON; empty: nothing is to be told."""
        return {}

    def description(self) -> dict[str, Any]:
        """The section `task` of result.json, plain values; a task adds what is worth telling of it."""
        return {
            "name": self.name,
            "sizes": {part: self.size(part) for part in ("train", "validation", "test")},
            "network": {key: list(value) if isinstance(value, tuple) else value for key, value in self.network.items()},
            "notes": list(self.notes),
        }


def taken(task: Task, outputs: Outputs) -> Any:
    """Outputs of a supernet in a form that the task takes."""
    return outputs.logits() if isinstance(outputs, LinearOutputs) and not task.takes_linear_outputs else outputs
