"""The bilevel search: alternating updates of the hypernetwork Φ and the supernet's weights w.

One Φ step, with T devices at once:
    r ~ Dirichlet(β), logits = Φ(r, d), sample = architect(logits),
    L = (supernet(x_val, sample), metapredictor(sample, d)), ℓ = scalarize(L, r),
    c = ∂ℓ/∂logits, per-device gradients, their min-norm weights γ, Φ ← Φ − ξ Σ γ_t g_t.
One w step: the mean over devices of the task loss of freshly sampled architectures on a training minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.architect import make_architect
from modnas_fast.config import Config
from modnas_fast.datasets import BatchStream, ImageTask
from modnas_fast.devices import Device, embeddings
from modnas_fast.metahypernet import make_metahypernet
from modnas_fast.metapredictor import MetaPredictor
from modnas_fast.mgd import Combination, descend, device_groups
from modnas_fast.objectives import ObjectiveScale
from modnas_fast.preferences import dirichlet
from modnas_fast.scalarize import make_scalarization
from modnas_fast.spaces import SearchSpace
from modnas_fast.supernets import make_supernet

NUM_OBJECTIVES = 2
#: random networks that show the range of the task loss, and of the cost
CALIBRATION_NETWORKS = 24
COST_SAMPLE = 1000
#: larger than any scaled loss of a network that works
CUT_PENALTY = 10.0


@dataclass
class History:
    """What was logged during a search: one entry per logged step, lists over devices where so named.

    Update schemes that step for one device at a time (`sequential`, `sample`) log nothing but `tracked`.
    """

    devices: list[str]
    step: list[int] = field(default_factory=list)
    task_loss: list[list[float]] = field(default_factory=list)
    """Cross-entropy in nats on the validation minibatch, per device."""
    latency: list[list[float]] = field(default_factory=list)
    """Predicted, in the device's normalised range, per device."""
    mgd_weights: list[list[float]] = field(default_factory=list)
    """γ per device."""
    gradient_cosine: list[float | None] = field(default_factory=list)
    """Mean over pairs of devices; None for a single one."""
    learning_rate_w: list[float] = field(default_factory=list)
    tracked: list[dict[str, Any]] = field(default_factory=list)
    """Evaluations during the search: `step`, and `points` as (error, latency in ms) of every ray by device name."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and the checkpoint."""
        return dict(vars(self))


class Search:
    """The state of one search, advanced by `step()`.

    Args:
        config: the run's configuration.
        space: the search space.
        task: images; `train` is for w, `validation` for Φ.
        devices: the T search devices.
        predictor: frozen.

    The same arguments on one machine and thread count give the same result bit for bit. Random numbers come from
    generators of the search's own, seeded by `config.seed`.
    """

    def __init__(
        self,
        config: Config,
        space: SearchSpace,
        task: ImageTask,
        devices: Sequence[Device],
        predictor: MetaPredictor,
    ) -> None:
        self._config = config
        self._space = space
        self._predictor = predictor
        self._classes = task.num_classes
        self._d = embeddings(devices)
        self._generator = torch.Generator().manual_seed(config.seed)
        self.supernet = initial_supernet(config, space, task)
        self.hypernet = initial_hypernet(config, space, self._d.shape[1])
        self._architect = make_architect(
            config.architect.kind,
            space.group_sizes,
            config.architect.temperature,
            tau_max=config.architect.tau_max,
            tau_min=config.architect.tau_min,
        )
        self._scalarize = make_scalarization(config.scalarization.kind, **config.scalarization.parameters())
        self._scale = ObjectiveScale(self._random_costs(), config.scalarization.normalize)
        batch, augment = config.search.batch_size, config.task.augment
        self._train = BatchStream(task, task.train, batch, config.seed + 1, augment)
        self._validation = BatchStream(task, task.validation, batch, config.seed + 2)
        self._weight_optimizer = torch.optim.SGD(
            self.supernet.parameters(),
            lr=config.search.weight_learning_rate,
            momentum=config.search.weight_momentum,
            weight_decay=config.search.weight_decay,
        )
        self._hyper_optimizer = torch.optim.Adam(
            self.hypernet.parameters(),
            lr=config.search.hyper_learning_rate,
            betas=config.search.hyper_betas,
            weight_decay=config.search.hyper_weight_decay,
        )
        self.history = History([device.name for device in devices])
        self.finished_steps = 0

    @torch.no_grad()
    def _random_costs(self) -> Tensor:
        """Predicted costs of uniformly random networks on every device, [T, n]."""
        sample = self._space.sample(COST_SAMPLE, self._generator)
        return torch.stack([self._predictor(sample, d) for d in self._d])

    @property
    def total_steps(self) -> int:
        """Warm-up steps and search steps."""
        return self._config.search.warmup_steps + self._config.search.steps

    @property
    def done(self) -> bool:
        """Whether all steps have been made."""
        return self.finished_steps >= self.total_steps

    @property
    def evaluation_due(self) -> bool:
        """Whether the step just made is one of the `search.evaluations` evenly spaced ones, the last included."""
        made, options = self.finished_steps - self._config.search.warmup_steps, self._config.search
        if made <= 0 or options.evaluations == 0:
            return False
        return made * options.evaluations // options.steps > (made - 1) * options.evaluations // options.steps

    def step(self) -> None:
        """One warm-up step (w alone), or one Φ step followed by one w step."""
        warming_up = self.finished_steps < self._config.search.warmup_steps
        if not warming_up:
            search_step = self.finished_steps - self._config.search.warmup_steps
            self._architect.set_progress(search_step / self._config.search.steps)
            if self._scale.enabled and search_step % self._config.search.calibrate_every == 0:
                self._calibrate()
            self._hyper_step(search_step % self._config.search.log_every == 0)
        self._weight_step(uniform_share=1.0 if warming_up else self._config.search.uniform_share)
        self.finished_steps += 1

    def _hyper_step(self, log: bool) -> None:
        x, y = next(self._validation)
        for chosen in device_groups(self._config.mgd.scheme, len(self._d), self._generator):
            d = self._d[chosen]
            r = self._preferences(len(d))
            logits = self.hypernet(r, d)
            leaf = logits.detach().requires_grad_()
            task_loss, cost, loss = self._devices_loss(x, y, leaf, r, chosen)
            loss = loss - self._entropy_weight() * self._architect.entropy(leaf)
            (cotangents,) = torch.autograd.grad(loss.sum(), leaf)
            self._hyper_optimizer.zero_grad(set_to_none=True)
            combination = descend(
                self.hypernet, logits, cotangents, (r, d), self._config.mgd.scheme, self._config.mgd.normalize
            )
            self._hyper_optimizer.step()
        if log and len(d) == len(self._d):
            self._log(task_loss, cost, combination)

    def _devices_loss(
        self, x: Tensor, y: Tensor, logits: Tensor, r: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Per device [t]: task loss, predicted cost, and ℓ with its gradient with respect to the logits [t, N]."""
        count = self._config.architect.num_samples
        samples = self._architect(logits.expand(count, *logits.shape), generator=self._generator)  # [K, t, N]
        with torch.set_grad_enabled(samples.requires_grad):
            task_loss = self.supernet(x, samples.flatten(0, 1), y).unflatten(0, samples.shape[:2])
            cost = self._predictor(samples, self._d[chosen])
            losses = self._scale(task_loss, cost, chosen)
            scalarized = self._scalarize(losses, r.expand(count, *r.shape)) + self._cut_penalty(samples)
        loss = self._architect.surrogate(scalarized, samples, logits)
        return task_loss.detach().mean(0), cost.detach().mean(0), loss

    def _entropy_weight(self) -> float:
        """Geometric from the first to the last weight over the search."""
        first, last = self._config.architect.entropy_start, self._config.architect.entropy_end
        if first == 0:
            return 0.0
        share = (self.finished_steps - self._config.search.warmup_steps) / self._config.search.steps
        return first * (last / first) ** share

    def _cut_penalty(self, sample: Tensor) -> Tensor:
        """[...]: what is added to ℓ of a network whose output does not depend on its input, whatever the preference.

        Behind batch normalisation the gradient of the task loss does not tell that removing a node's last input is
        fatal, nor how a cut network comes alive again; the space knows both exactly.
        """
        if not self._config.search.viability:
            return torch.zeros_like(sample[..., 0])
        return CUT_PENALTY * (1 - self._space.viable(sample))

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Lets the scale of the objectives see uniformly random networks on a validation minibatch."""
        x, y = next(self._validation)
        sample = self._space.sample(CALIBRATION_NETWORKS, self._generator)
        self._scale.observe(self.supernet(x, sample, y), math.log(self._classes))

    def _weight_step(self, uniform_share: float) -> None:
        x, y = next(self._train)
        self._set_weight_learning_rate()
        with torch.no_grad():
            logits = self.hypernet(self._preferences(len(self._d)), self._d)
            sample = self._architect(logits, generator=self._generator)
            uniform = torch.rand(len(sample), 1, generator=self._generator) < uniform_share
            sample = torch.where(uniform, self._space.sample(len(sample), self._generator), sample)
        self._weight_optimizer.zero_grad(set_to_none=True)
        self.supernet(x, sample, y).mean().backward()
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self._config.search.gradient_clip)
        self._weight_optimizer.step()

    def _preferences(self, devices: int) -> Tensor:
        preferences = self._config.preferences
        return dirichlet(
            devices, NUM_OBJECTIVES, preferences.beta, shared=preferences.shared, generator=self._generator
        )

    def _set_weight_learning_rate(self) -> None:
        highest = self._config.search.weight_learning_rate
        lowest = highest / 25
        share = self.finished_steps / self.total_steps
        rate = lowest + 0.5 * (highest - lowest) * (1 + math.cos(math.pi * share))
        for group in self._weight_optimizer.param_groups:
            group["lr"] = rate

    def _log(self, task_loss: Tensor, cost: Tensor, combination: Combination) -> None:
        history, devices = self.history, len(task_loss)
        history.step.append(self.finished_steps)
        history.task_loss.append(task_loss.tolist())
        history.latency.append(cost.tolist())
        history.mgd_weights.append(combination.weights.tolist())
        pairs = combination.cosines[~torch.eye(devices, dtype=torch.bool)]
        history.gradient_cosine.append(float(pairs.mean()) if devices > 1 else None)
        history.learning_rate_w.append(self._weight_optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to continue exactly here."""
        return {
            "finished_steps": self.finished_steps,
            "supernet": self.supernet.state_dict(),
            "hypernet": self.hypernet.state_dict(),
            "weight_optimizer": self._weight_optimizer.state_dict(),
            "hyper_optimizer": self._hyper_optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "train": self._train.state_dict(),
            "validation": self._validation.state_dict(),
            "scale": self._scale.state_dict(),
            "history": self.history.to_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.finished_steps = state["finished_steps"]
        self.supernet.load_state_dict(state["supernet"])
        self.hypernet.load_state_dict(state["hypernet"])
        self._weight_optimizer.load_state_dict(state["weight_optimizer"])
        self._hyper_optimizer.load_state_dict(state["hyper_optimizer"])
        self._generator.set_state(state["generator"])
        self._train.load_state_dict(state["train"])
        self._validation.load_state_dict(state["validation"])
        self._scale.load_state_dict(state["scale"])
        self.history = History(**state["history"])


def initial_supernet(config: Config, space: SearchSpace, task: ImageTask) -> nn.Module:
    """The supernet of a run with weights drawn from the run's seed; the global generator stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_supernet(space, **network_arguments(config, task.image_shape[0], task.num_classes))


def initial_hypernet(config: Config, space: SearchSpace, embedding_width: int) -> nn.Module:
    """The MetaHypernetwork of a run with weights drawn from the run's seed."""
    return make_metahypernet(
        num_options=space.num_options,
        num_objectives=NUM_OBJECTIVES,
        embedding_width=embedding_width,
        generator=torch.Generator().manual_seed(config.seed + 3),
        **config.hypernetwork.model_dump(),
    )


def network_arguments(config: Config, image_channels: int, classes: int) -> dict[str, int | str]:
    """What `space.build` and the supernet are built with."""
    return {
        "image_channels": image_channels,
        "classes": classes,
        "channels": config.space.channels,
        "cells": config.space.cells,
        "reduction": config.space.reduction,
    }
