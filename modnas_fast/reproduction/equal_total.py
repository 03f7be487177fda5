"""Black-box searches with as many queries in all as a search of MODNAS, each of which serves all devices."""

from __future__ import annotations

import time
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices import embeddings
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.exact import front_of
from modnas_fast.runs.preparation import Prepared
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.search.refine import Archive
from modnas_fast.search.shared_searches import shared_searches

#: queries after which a search is scored on the way, beside its end
SCORED_AT = (25, 50, 100, 150, 200, 250, 300)


def equal_total(benchmark: Benchmark, prepared: Prepared, seed: int) -> dict[str, dict[str, Any]]:
    """By method, plain values of its run as `compose` wants them; empty where queries are of a table's networks alone.

    They ask for the qualities of as many networks as the search queried, and know the same costs: those of the search's
    known networks, and what its predictors say of others. All that they asked for is their answer.

    Args:
        benchmark: tells qualities, and scores.
        prepared: what the search begins with.
        seed: of the searches.
    """
    budget = len(prepared.queried)
    if not budget or (benchmark.judge is not None and not benchmark.asks_judge):
        return {}
    d = embeddings(prepared.search_devices)
    found = {}
    for name, search in shared_searches(len(benchmark.table.metrics)).items():
        began = time.monotonic()
        evaluator = Evaluator(benchmark.space, benchmark.judge or benchmark.true_errors, prepared.costs)
        archive = Archive(
            benchmark.space, evaluator, prepared.costs, d, prepared.measured, budget, prepared.objective.whole
        )
        search(benchmark.space, archive, torch.Generator().manual_seed(seed + 7))
        found[name] = {
            "seed": seed,
            "seconds": time.monotonic() - began,
            "evaluations": len(archive),
            "devices": {device.name: _score(benchmark, archive.onehot, device.name) for device in benchmark.devices},
            "curve": [
                _on_the_way(benchmark, archive.onehot[:n], n)
                for n in sorted({len(archive), *SCORED_AT})
                if n <= len(archive)
            ],
        }
    return found


def _score(benchmark: Benchmark, onehot: Tensor, device: str) -> dict[str, Any]:
    points = benchmark.points(onehot, device)
    score = benchmark.fronts[device].score_points(points)
    return {**score.to_dict(), "front": front_of(points).round(5).tolist()}


def _on_the_way(benchmark: Benchmark, onehot: Tensor, queries: int) -> dict[str, Any]:
    ratios: dict[str, list[float]] = {"search": [], "unseen": []}
    for device in benchmark.devices:
        points = benchmark.points(onehot, device.name)
        ratios[device.split].append(benchmark.fronts[device.name].score_points(points).ratio)
    means = {split: fmean(values) if values else None for split, values in ratios.items()}
    return {"seconds": None, "evaluations": queries, "ratio": means}
