"""What a search of MODNAS knows in all, scored: its answers on rays together with the front of its archive."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import torch

from modnas_fast.config import Config
from modnas_fast.devices import Device
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.exact import front_of
from modnas_fast.runs.known_fronts import known_fronts
from modnas_fast.runs.searching import Answer
from modnas_fast.search.scores import map_architectures


def whole_front(benchmark: Benchmark, config: Config, answer: Answer) -> dict[str, Any]:
    """Plain values of a run as `compose` wants them; which networks it shows was decided without the benchmark.

    Args:
        benchmark: scores them.
        config: of the search.
        answer: of the search.
    """
    found: dict[str, dict[str, Any]] = {}
    ratios: dict[str, list[float]] = {"search": [], "unseen": []}
    fronts = known_fronts(answer, benchmark.space, config.evaluation.archive)
    for device, front in zip(benchmark.devices, fronts, strict=True):
        found[device.name] = _score(benchmark, config, answer, device, front)
        ratios[device.split].append(found[device.name]["ratio"])
    evaluations = len(answer.prepared.queried)
    means = {split: fmean(values) if values else None for split, values in ratios.items()}
    return {
        "seed": config.seed,
        "seconds": answer.total_seconds,
        "evaluations": evaluations,
        "devices": found,
        "curve": [{"seconds": answer.total_seconds, "evaluations": evaluations, "ratio": means}],
    }


def _score(benchmark: Benchmark, config: Config, answer: Answer, device: Device, front: torch.Tensor) -> dict[str, Any]:
    on_rays = map_architectures(benchmark, answer.hypernet, device, config.num_rays)
    points = benchmark.points(torch.cat([on_rays, front]), device.name)
    return {**benchmark.fronts[device.name].score_points(points).to_dict(), "front": front_of(points).round(5).tolist()}
