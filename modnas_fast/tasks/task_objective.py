"""The task objective of a search: the loss of sampled architectures, from a supernet or from a surrogate.

`SupernetObjective` is the paper's way: shared weights w, trained on the way, a minibatch per call. A surrogate
(`surrogate.SurrogateObjective`) answers from a regression on known errors and has nothing to train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from modnas_fast.config import Config
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import free_memory
from modnas_fast.runtime.mesh import ALONE_MESH, Mesh
from modnas_fast.runtime.objective import whole
from modnas_fast.runtime.optimizers import make_optimizer, set_learning_rate, warmed_cosine
from modnas_fast.runtime.placement import search_device
from modnas_fast.runtime.ranks import ALONE, Ranks
from modnas_fast.spaces import SearchSpace
from modnas_fast.supernets.batch_statistics import statistics_over
from modnas_fast.supernets.captured import CapturedPasses
from modnas_fast.supernets.parallel import workers
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.sharded import (
    ShardedPasses,
    agreed,
    filled,
    gathered,
    load_module_,
    load_optimizer_,
    shard_,
    whole_weights,
)
from modnas_fast.supernets.supernet import Computed, How, Outputs, Plan, Supernet
from modnas_fast.tasks.divided import DividedErrors, divided_losses
from modnas_fast.tasks.supernet_errors import ShardedErrors, SupernetErrors, even_batch_size
from modnas_fast.tasks.task import Batch, Task, taken


class TaskObjective(Protocol):
    """What a search asks for."""

    #: loss of a guess
    chance_loss: float
    #: quality of a guess, such as its error in percent
    chance_error: float
    #: what a quality is divided by to be a share, see `whole`
    whole: float
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

    def train_step(
        self, onehot: Tensor, share: float, hard: bool | None = None, teacher: int | None = None
    ) -> None:  # pragma: no cover - protocol
        """One step of w on architectures [T, N]; `share` of the schedule is over; `hard` as above.

        `teacher` is the row of a network that others may learn from.
        """

    def errors(self, onehot: Tensor) -> Tensor:  # pragma: no cover - protocol
        """Quality [n], such as errors in percent, of canonical architectures [n, N]; both are on the CPU."""

    def state_dict(self) -> dict[str, Any]:  # pragma: no cover - protocol
        """What `load_state_dict` needs to continue here."""

    def load_state_dict(self, state: dict[str, Any]) -> None:  # pragma: no cover - protocol
        """Continues where `state` was taken."""


class SupernetObjective:
    """The task's loss and quality with the shared weights w of a supernet.

    Args:
        config: the run's configuration.
        space: the search space.
        task: `train` is for w, `validation` for losses and quality.
        device: for weights and data; None: the one that `config.search.device` asks for.
        mesh: of the ranks that divide the work; all of them call every method together, with the same arguments, and
            get the same answers.

    Every rank holds w, or with `search.shard` a part of it, and draws every minibatch whole. On a GPU nothing but
    `errors` waits for it, and the supernet's passes are captured if `config.search.capture`.
    """

    trains = True

    def __init__(
        self,
        config: Config,
        space: SearchSpace,
        task: Task,
        device: torch.device | None = None,
        mesh: Mesh = ALONE_MESH,
    ) -> None:
        options = config.search
        self._mesh = mesh
        self.device = device or search_device(options.device)
        task = task.to(self.device)
        self.supernet = initial_supernet(config, space, task)
        if options.shard:
            shard_(self.supernet, mesh.ranks, self.device.type)
        self.supernet.to(self.device)
        self._task, self._distillation = task, options.distillation
        over_ranks = options.batch_norm == "whole" and self.supernet.shares_statistics
        #: the ranks whose minibatch statistics are taken together
        self._statistics = mesh.data_group if over_ranks else None
        composed = options.distillation or self._statistics is not None
        captured = options.capture and not composed and self.device.type == "cuda" and self.supernet.capturable
        kind = ShardedPasses if options.shard else CapturedPasses if captured else Passes
        self._passes = kind(
            self.supernet,
            lambda outputs, y: task.losses(taken(task, outputs), y),
            lambda outputs, y: task.training_losses(taken(task, outputs), y),
        )
        self._activations = _activations(options.activations, self.device, self.supernet)
        self._exact = config.architect.gradient == "exact"
        self._chunk = options.device_chunk
        self._mean_over = task.mean_over
        self._plans: dict[tuple[object, ...], Plan] = {}
        self.chance_loss, self.chance_error = task.chance_loss, task.chance
        self.whole = whole(task.quality, task.chance)
        self.errors = DividedErrors(
            supernet_errors(config, self.supernet, task, mesh.ranks), mesh.ranks, evenly=options.shard
        )
        self._train = task.stream("train", options.batch_size, config.seed + 1, config.task.augment)
        self._validation = task.stream("validation", options.batch_size, config.seed + 2)
        self._highest_rate = options.weight_learning_rate
        self._warmup = options.weight_warmup
        self._gradient_clip = options.gradient_clip
        self._optimizer = make_optimizer(
            options.weight_optimizer,
            self.supernet.parameters(),
            options.weight_learning_rate,
            options.weight_decay,
            options.weight_momentum,
        )

    def weights(self) -> Mapping[str, Tensor]:
        """w by name; where ranks hold parts of it, all call this, and rank 0 gets it whole, on the CPU."""
        return whole_weights(self.supernet, self._mesh.ranks.first)

    @property
    def learning_rate(self) -> float:
        """Of the last step of w."""
        rate: float = self._optimizer.param_groups[0]["lr"]
        return rate

    def new_batch(self) -> None:
        """Further losses are those on the next validation minibatch."""
        (self._x, self._y), self._part = self._own(next(self._validation))

    def loss(self, onehot: Tensor, hard: bool | None = None) -> Tensor:
        """The task's loss [S] of samples [S, N]."""
        x = self._in_format(self._x)

        def own_losses(own: Tensor) -> Tensor | None:
            found = self._filled(own, onehot)
            if not (len(found) and len(x)):
                return None
            with statistics_over(self._statistics):
                chunk, how = self._plan(x, found, hard)
                losses = self._passes.device_losses(x, found, self._y, chunk, weight=self._part, **how)
                return losses[: len(own)]

        return divided_losses(onehot, own_losses, self._mesh, self._wide(onehot))

    def train_step(self, onehot: Tensor, share: float, hard: bool | None = None, teacher: int | None = None) -> None:
        """One step on the mean loss of architectures [T, N] on the next training minibatch.

        With `search.distillation` the others learn from the outputs of the one in row `teacher`, too.
        """
        (x, y), part = self._own(next(self._train))
        x, onehot, rows = self._in_format(x), onehot.detach(), self._mesh.rows(len(onehot))
        rate = warmed_cosine(self._highest_rate, self._highest_rate / 25, self._warmup, share)
        set_learning_rate(self._optimizer, rate)
        self._optimizer.zero_grad(set_to_none=True)
        if self.supernet.divided:
            self._add_divided_gradients(x, onehot, y, part, hard)
        elif len(onehot[rows]) and len(x):
            with statistics_over(self._statistics):
                chunk, how = self._plan(x, onehot[rows], hard)
                if teacher is None or not self._distillation:
                    weight = len(onehot[rows]) / len(onehot) * part
                    self._passes.add_weight_gradients(x, onehot[rows], y, chunk, weight=weight, **how)
                else:
                    self._passes.add_distilled_gradients(
                        x, onehot, y, teacher, self._distilled, chunk, rows=rows, weight=part, **how
                    )
        if not self.supernet.divided:
            self._mesh.sum_gradients_(self.supernet.parameters())
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self._gradient_clip)
        self._optimizer.step()

    def _add_divided_gradients(
        self, x: Tensor, onehot: Tensor, y: Tensor, part: Tensor | float, hard: bool | None
    ) -> None:
        """Of the mean loss over all ranks' networks and samples, to the weights of which each rank holds a part."""
        own = onehot[self._mesh.rows(len(onehot))]
        found = self._filled(own, onehot)
        shares = torch.zeros(len(found), dtype=torch.float64)
        shares[: len(own)] = len(found) / len(onehot) * float(part)
        chunk, how = self._plan(x, found, hard)
        self._passes.add_weight_gradients(x, found, y, chunk, weight=shares, **how)

    def _filled(self, own: Tensor, onehot: Tensor) -> Tensor:
        """This rank's samples; where weights are divided, as many as the rank with most has."""
        return filled(own, onehot, self._mesh.most(len(onehot))) if self.supernet.divided else own

    def _distilled(self, outputs: Outputs, y: Tensor, told: Outputs) -> Tensor:
        """Losses of networks that learn from the outputs of a better one."""
        task = self._task
        return task.distilled_losses(taken(task, outputs), y, taken(task, told), self._distillation)

    def _own(self, batch: Batch) -> tuple[Batch, Tensor | float]:
        """This rank's part of a minibatch, and the share of it in a mean over the whole."""
        x, y = batch
        if self._mesh.data == 1:
            return batch, 1.0
        part = self._mesh.part(len(x))
        return (x[part], y[part]), self._mean_over(y[part]) / self._mean_over(y)

    def _wide(self, onehot: Tensor) -> torch.dtype:
        """Number format of losses: that of samples or of weights, the wider one, and float32 at least."""
        weights = (parameter.dtype for parameter in self.supernet.parameters())
        found = torch.promote_types(onehot.dtype, torch.float32)
        return torch.promote_types(found, next(weights, found))

    def _in_format(self, x: Tensor) -> Tensor:
        """Numbers in the format of the activations; ids, such as those of tokens, as they are."""
        return x.to(self._activations) if x.is_floating_point() else x

    def _plan(self, x: Tensor, onehot: Tensor, hard: bool | None) -> tuple[int, How]:
        """Devices at a time, and how; made once per kind of pass, so that a search repeats itself bit for bit."""
        if self._chunk is not None:
            return self._chunk, {"hard": hard, "exact": self._exact}
        by_samples = onehot.requires_grad
        computed: Computed = "soft"
        if hard:
            computed = "weights" if not by_samples else "all" if self._exact else "samples"
        key = (x.shape, len(onehot), computed)
        if key not in self._plans or self.supernet.divided:  # then all ranks agree anew, whoever has seen what
            free, count = free_memory(self.device), workers(self.device, len(onehot))
            self._plans[key] = self._agreed(self.supernet.plan(x, len(onehot), computed, free, count))
        found = self._plans[key]
        return found.chunk, {"hard": hard, "exact": self._exact, "recompute": found.recompute}

    def _agreed(self, plan: Plan) -> Plan:
        """One plan for ranks that exchange something on the way, so that they do so in one order."""
        if self._statistics is None and not self.supernet.divided:
            return plan
        number = 2 * plan.chunk + (not plan.recompute)
        least = agreed(number, self._mesh.ranks) if self.supernet.divided else self._mesh.least(number)
        return Plan(least // 2, recompute=least % 2 == 0)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and the places in the streams of minibatches.

        Where ranks hold parts of the weights, all call this, and rank 0 gets them whole.
        """
        keep = self._mesh.ranks.first
        return {
            "supernet": whole_weights(self.supernet, keep),
            "optimizer": gathered(self._optimizer.state_dict(), keep),
            "train": self._train.state_dict(),
            "validation": self._validation.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        load_module_(self.supernet, state["supernet"])
        load_optimizer_(self._optimizer, state["optimizer"])
        self._train.load_state_dict(state["train"])
        self._validation.load_state_dict(state["validation"])


def initial_supernet(config: Config, space: SearchSpace, task: Task) -> Supernet:
    """The supernet of a run with weights drawn from the run's seed; the global generator stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        supernet = space.supernet(**network_arguments(config, task), **config.space.supernet)
    if not isinstance(supernet, Supernet):
        kind = type(supernet).__name__
        raise InputError(f"space.name: the supernet of {space.name} is a {kind}, no modnas_fast.supernets.Supernet")
    return supernet


def supernet_errors(config: Config, supernet: Supernet, task: Task, ranks: Ranks = ALONE) -> SupernetErrors:
    """Quality on the validation part, as many networks at a time as the supernet takes.

    Args:
        config: the run's configuration.
        supernet, task: on one device.
        ranks: that hold parts of the supernet's weights, where it is divided.

    Raises InputError where not even one network fits into the free memory.
    """
    batch = even_batch_size(task.size("validation"), config.evaluation.batch_size)
    count = supernet.networks_at_a_time(task.inputs(batch, "meta"), free_memory(task.device))
    kind = ShardedErrors if supernet.divided else SupernetErrors
    return kind(
        supernet,
        task,
        "validation",
        config.evaluation.batch_size,
        agreed(count, ranks) if supernet.divided else count,
        statistics_inputs(config, task) if supernet.calibrates else [],
    )


def statistics_inputs(config: Config, task: Task) -> list[Tensor]:
    """Minibatches of training samples, always the same, for the statistics of chosen networks."""
    samples = min(config.evaluation.statistics_samples, task.size("train"))
    batch = even_batch_size(samples, config.search.batch_size)
    stream = task.stream("train", batch, config.seed + 7)
    return [next(stream)[0] for _ in range(samples // batch)]


def network_arguments(config: Config, task: Task | Mapping[str, Any]) -> dict[str, Any]:
    """What `space.build` and `space.supernet` are called with: the task's `network`, or that of its description."""
    return {**(task.network if isinstance(task, Task) else task), **config.space.network}


def _activations(choice: str, device: torch.device, supernet: Supernet) -> torch.dtype:
    """The number format that `search.activations` asks for."""
    if choice == "auto":
        return torch.bfloat16 if device.type == "cuda" and supernet.takes_bfloat16 else torch.float32
    if choice == "bfloat16" and not supernet.takes_bfloat16:
        raise InputError(f"search.activations: {type(supernet).__name__} takes float32 alone; set it to auto")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[choice]
