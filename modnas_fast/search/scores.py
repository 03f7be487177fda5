"""What a hypernetwork's answers are worth on a space whose networks are all known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from modnas_fast.devices import Device, embeddings
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.exact import Score
from modnas_fast.method.metahypernet import logits_on_host
from modnas_fast.method.preferences import rays


def map_points(benchmark: Benchmark, hypernet: nn.Module, device: Device, count: int) -> np.ndarray:
    """Normalised objectives [n, M] of the distinct MAP networks of `count` rays on a device, true or judged."""
    return benchmark.points(map_architectures(benchmark, hypernet, device, count), device.name)


@torch.no_grad()
def map_architectures(benchmark: Benchmark, hypernet: nn.Module, device: Device, count: int) -> Tensor:
    """The MAP networks of `count` rays on a device, canonical one-hots [count, N]."""
    preferences = rays(count, 1 + len(benchmark.table.metrics))
    logits = logits_on_host(hypernet, preferences, embeddings([device]).expand(len(preferences), -1))
    return benchmark.space.canonical(benchmark.space.viable_mode(logits))


def scores(benchmark: Benchmark, hypernet: nn.Module, count: int) -> dict[str, Score]:
    """The score of the hypernetwork's answers to `count` rays on every device, by the exact table."""
    return {
        device.name: benchmark.fronts[device.name].score_points(map_points(benchmark, hypernet, device, count))
        for device in benchmark.devices
    }


def mean_by_split(benchmark: Benchmark, found: dict[str, Score], name: str) -> dict[str, float | None]:
    """Mean of one field of the scores over search devices and over unseen ones; None where there are none."""
    means: dict[str, float | None] = {}
    for split in ("search", "unseen"):
        values = [getattr(found[device.name], name) for device in benchmark.devices if device.split == split]
        means[split] = sum(values) / len(values) if values else None
    return means
