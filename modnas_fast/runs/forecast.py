"""What a run with a supernet will take: found out by a pass of each kind before anything is measured.

Passes are made on throw-away copies of what the run makes later, so that it is the same with a forecast and without.
Memory that is not there is told by them in one line that names the setting, before minutes are spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modnas_fast.config import Config
from modnas_fast.method.architect import make_architect, samples_per_device
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import SHARE, free_memory
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.task_objective import SupernetObjective, network_arguments
from modnas_fast.tasks.training import training_bytes

#: a pass that takes longer is not repeated to leave out what its first time prepares
LONG = 0.5
#: distinct networks per device among those that the rays of an evaluation lead to, about
DISTINCT_PER_DEVICE = 10


class Forecast(NamedTuple):
    """Seconds of the stages behind the measuring, about."""

    search: float
    evaluate: float
    verify: float

    def divided(self, ranks: int, verified: int) -> Forecast:
        """The same where so many ranks divide the work, training one of the `verified` networks each at a time.

        >>> Forecast(10.0, 4.0, 6.0).divided(2, 3)
        Forecast(search=5.0, evaluate=2.0, verify=4.0)
        """
        rounds = -(-verified // ranks)
        return Forecast(self.search / ranks, self.evaluate / ranks, self.verify * rounds / max(1, verified))

    def __str__(self) -> str:
        parts = [f"{name} {_duration(seconds)}" for name, seconds in zip(self._fields, self) if seconds > 0]
        return ", ".join(parts)


def foresee(config: Config, space: SearchSpace, task: Task, searched: int, unseen: int) -> Forecast:
    """Seconds that search, evaluation and verification will take about, on as many threads as torch uses now.

    Args:
        config: the run's configuration.
        space: the search space.
        task: with its data.
        searched, unseen: how many devices there are.

    Raises InputError where there is too little memory for a stage; it names the setting.
    """
    if config.verify.networks:
        _check_verification(config, space, task)
    objective = SupernetObjective(config, space, task)
    generator = torch.Generator().manual_seed(0)
    options, devices = config.search, searched + unseen
    network = _seconds(lambda: objective.errors(space.sample(4, generator))) / 4
    trained = options.warmup + options.steps if options.train_weights else 0
    step_of_w = _seconds(lambda: objective.train_step(space.sample(searched, generator), 0.0, True)) if trained else 0.0
    step_of_phi = _seconds(lambda: _phi_pass(config, space, objective, searched, generator)) if options.steps else 0.0
    on_the_way = options.evaluations * devices * DISTINCT_PER_DEVICE if options.steps or options.refine_steps else 0
    refined = options.refine_networks if options.refine_steps else 0
    return Forecast(
        search=trained * step_of_w + options.steps * step_of_phi + (on_the_way + refined) * network,
        evaluate=(devices * DISTINCT_PER_DEVICE + config.num_rays) * network,
        verify=_verification_seconds(config, space, task, objective.device) if config.verify.networks else 0.0,
    )


def _seconds(work: Callable[[], object]) -> float:
    """Of one call; short ones are made twice, and the second counts."""
    for _ in range(2):
        start = time.monotonic()
        work()
        if (seconds := time.monotonic() - start) > LONG:
            break
    return seconds


def _phi_pass(
    config: Config, space: SearchSpace, objective: SupernetObjective, devices: int, generator: torch.Generator
) -> None:
    """The supernet's part of a step of Φ."""
    options = config.architect
    architect = make_architect(
        options.kind,
        space.group_sizes,
        options.temperature,
        tau_max=options.tau_max,
        tau_min=options.tau_min,
        options=options.options,
    )
    count = samples_per_device(architect, options.samples)
    logits = torch.zeros(count * devices, space.num_options, requires_grad=True)
    objective.new_batch()
    loss = objective.loss(architect(logits, generator=generator).to(objective.device), architect.hard or None)
    if loss.requires_grad:
        loss.sum().backward()


def _check_verification(config: Config, space: SearchSpace, task: Task) -> None:
    """Refuses where training the largest of the reference networks takes too much memory."""
    free = free_memory(torch.device("cpu"))
    batch = next(task.batches("train", config.verify.batch_size))
    networks = (_reference(config, space, task, text).to("meta") for text in space.references)
    needed = max(training_bytes(network, task, batch) for network in networks)
    if free is not None and needed > SHARE * free:
        raise InputError(
            f"verify.batch_size: training a network on {config.verify.batch_size} samples at a time takes about "
            f"{needed / 1e9:.3g} GB, of which {free / 1e9:.3g} GB are free; lower it, or set space.channels or "
            "task.resize lower"
        )


def _verification_seconds(config: Config, space: SearchSpace, task: Task, device: torch.device) -> float:
    """Of training the chosen networks, were all like the mean of the first and the last reference network."""
    options, samples = config.verify, task.size("train+validation")
    x, y = next(task.to(device).batches("train", options.batch_size))
    seconds = 0.0
    for text in (space.references[0], space.references[-1]):
        network = _reference(config, space, task, text).to(device)
        seconds += _seconds(partial(_training_pass, network, task, x, y)) / 2
    networks = options.networks + (space.familiar is not None)
    return seconds * networks * options.epochs * max(1, samples // options.batch_size)


def _training_pass(network: nn.Module, task: Task, x: Tensor, y: Tensor) -> None:
    task.loss(network(x), y).backward()


def _reference(config: Config, space: SearchSpace, task: Task, text: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return space.build(space.parse(text), **network_arguments(config, task))


def _duration(seconds: float) -> str:
    """Rounded as an estimate deserves.

    >>> [_duration(s) for s in (0.3, 42, 260, 9000)]
    ['1 s', '40 s', '4 min', '2.5 h']
    """
    if seconds < 90:
        return f"{max(1, round(seconds, -1 if seconds > 20 else None)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
