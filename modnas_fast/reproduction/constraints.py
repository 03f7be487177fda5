"""Answers of a search beside black-box searches that may ask the judges for any network: per budget, and whole fronts.

The first is a search per device and budget, as Once-for-All does; the second an evolution of the front per device.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import moocore
import numpy as np
import torch
from torch import Tensor

from modnas_fast.baselines.constrained_evolution import constrained_evolution
from modnas_fast.config import Config
from modnas_fast.devices import Device, embeddings
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.method.metahypernet import logits_on_host
from modnas_fast.method.preferences import rays
from modnas_fast.reproduction.trial import Entry, Group
from modnas_fast.runs.searching import Answer
from modnas_fast.spaces import SearchSpace

#: budgets per device, evenly over the range of the first cost of the table's judged front
BUDGETS = 10
#: judged networks of a search per budget, and of an evolution of the front; of a quick reproduction as well
PER_BUDGET, PER_FRONT = 1000, 5000
#: preferences asked of the hypernetwork to answer budgets
RAYS = 200
#: networks of a generation of the front's evolution, and choices that a mutation changes at most
GENERATION, CHANGES = 250, 3
#: of the normalised hypervolume in every objective
REFERENCE = 1.0


@dataclass(frozen=True)
class ConstrainedGroup(Group):
    """A group on a benchmark with judges, whose entries tell `budgets` and `evolved`, see `beside_searches`."""

    def told(self, benchmark: Benchmark, config: Config, answer: Answer) -> Entry:
        if not self.name.startswith("main"):
            return {}
        return {"beside": {d.name: beside_searches(benchmark, answer, d, config.seed) for d in benchmark.devices}}


def beside_searches(benchmark: Benchmark, answer: Answer, device: Device, seed: int) -> Entry:
    """What the answer and the two searches find on a device.

    `hypervolume` of the answer to `RAYS` preferences and that `evolved` with `PER_FRONT` evaluations; and `budgets`, a
    cost each with the best quality within it of the `answer` and of a `search`; None where there is no network.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{device.name} {seed}".encode()))
    judge = partial(_judged, benchmark, device.name)
    answered = judge(_answers(benchmark, answer, device))
    front = benchmark.fronts[device.name]
    _, evolved = evolve(benchmark.space, judge, PER_FRONT, generator)
    own = front.normalize(answered.numpy())
    budgets = []
    low, high = _range(benchmark, device.name)
    for budget in np.linspace(low, high, BUDGETS + 1)[1:].tolist():
        _, found = constrained_evolution(
            benchmark.space,
            lambda onehot: judge(onehot)[:, 0],
            lambda onehot: judge(onehot)[:, 1],
            budget,
            PER_BUDGET,
            generator,
        )
        best = answered[answered[:, 1] <= budget, 0]
        budgets.append(
            {
                "cost": budget,
                "answer": best.min().item() if len(best) else None,
                "search": found.min().item() if len(found) else None,
            }
        )
    return {
        "split": device.split,
        "hypervolume": _hypervolume(own),
        "evolved": _hypervolume(front.normalize(evolved.numpy())),
        "budgets": budgets,
    }


def summary(entries: list[Entry]) -> Entry:
    """Of `beside` of several seeds: mean ratios to the evolved fronts per split, and budgets where a search did better.

    `worst` is by how much at most, in the unit of the quality.
    """
    devices = [device for entry in entries for device in entry.values()]
    ratios = {
        split: [d["hypervolume"] / d["evolved"] for d in devices if d["split"] == split]
        for split in ("search", "unseen")
    }
    gaps = [
        budget["answer"] - budget["search"]
        for device in devices
        for budget in device["budgets"]
        if None not in (budget["answer"], budget["search"])
    ]
    return {
        "ratio": {split: fmean(values) if values else None for split, values in ratios.items()},
        "lowest": min(value for values in ratios.values() for value in values),
        "budgets": len(gaps),
        "worst": max(gaps),
        "mean": fmean(gaps),
        "beaten_by_a_tenth": sum(gap > 0.1 for gap in gaps),
        "unanswered": sum(b["answer"] is None and b["search"] is not None for d in devices for b in d["budgets"]),
    }


def _judged(benchmark: Benchmark, device: str, onehot: Tensor) -> Tensor:
    """Quality and costs, float64 [n, M], of canonical one-hots."""
    assert benchmark.judge is not None and benchmark.table.judge is not None
    return torch.cat([benchmark.judge(onehot)[:, None], benchmark.table.judge(device, onehot)], dim=1)


@torch.no_grad()
def _answers(benchmark: Benchmark, answer: Answer, device: Device) -> Tensor:
    """The most probable networks of `RAYS` preferences, each once, [n, N]."""
    preferences = rays(RAYS, 1 + len(benchmark.table.metrics))
    logits = logits_on_host(answer.hypernet, preferences, embeddings([device]).expand(len(preferences), -1))
    return torch.unique(benchmark.space.canonical(benchmark.space.viable_mode(logits)), dim=0)


def _range(benchmark: Benchmark, device: str) -> tuple[float, float]:
    """The least and the most that the table's judged front costs."""
    front = benchmark.fronts[device]
    cost = front.values[front.rows][:, 1] * (front.high[1] - front.low[1]) + front.low[1]
    return float(cost.min()), float(cost.max())


def evolve(
    space: SearchSpace, judge: Callable[[Tensor], Tensor], evaluations: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """An evolution of the front: the networks asked for, canonical one-hots [n, N], and their values [n, M].

    Each generation mutates networks of the front of all that went before.

    Args:
        space: the search space.
        judge: values to be minimised, float64 [n, M], of one-hots [n, N].
        evaluations: n, a multiple of `GENERATION`.
        generator: of everything random.
    """
    onehot = space.canonical(space.sample(GENERATION, generator))
    values = judge(onehot)
    for generation in range(evaluations // GENERATION - 1):
        best = onehot[torch.from_numpy(moocore.is_nondominated(values.numpy()))]
        parents = best[torch.randint(len(best), (GENERATION,), generator=generator)]
        children = space.canonical(space.mutate(parents, 1 + generation % CHANGES, generator))
        onehot, values = torch.cat([onehot, children]), torch.cat([values, judge(children)])
    return onehot, values


def _hypervolume(points: np.ndarray) -> float:
    return float(moocore.hypervolume(points, ref=np.full(points.shape[1], REFERENCE)))
