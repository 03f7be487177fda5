"""Published networks beside the fronts that were found: which of them a front dominates or equals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.reproduction.trial import Entry
from modnas_fast.spaces.hat.published_networks import PublishedNetwork

#: of normalised objectives, which entries have with five digits
ROUNDING = 1e-5


def published_entry(benchmark: Benchmark, networks: Sequence[PublishedNetwork], methods: Sequence[Entry]) -> Entry:
    """Published networks as the judges tell them on every device, and how many of them each method's fronts cover.

    Args:
        benchmark: with judges.
        networks: published.
        methods: entries of a reproduction, each with its `runs`.
    """
    space = benchmark.space
    onehot = space.encode([space.parse(network.architecture) for network in networks])
    points = {device.name: benchmark.judged_points(device.name, onehot) for device in benchmark.devices}
    return {
        "networks": [f"{network.device}, {network.latency_ms:g} ms, BLEU {network.bleu:g}" for network in networks],
        **beside_fronts(points, methods),
    }


def beside_fronts(points: Mapping[str, np.ndarray], methods: Sequence[Entry]) -> Entry:
    """Published networks by device, and how many of those each method's fronts cover, one number per run.

    Args:
        points: normalised objectives [n, M] by device, of networks that may differ from one device to the next.
        methods: entries of a reproduction, each with its `runs`.
    """
    return {
        "points": {name: found.round(5).tolist() for name, found in points.items()},
        "covered": {
            method["name"]: {
                name: [covered(run["devices"][name]["front"], points[name]) for run in method["runs"]]
                for name in points
            }
            for method in methods
        },
    }


def covered(front: Sequence[Sequence[float]], points: np.ndarray) -> int:
    """How many of the points [n, M] some point of a front is as good as in every objective, to five digits.

    >>> covered([[0.2, 0.5], [0.6, 0.1]], np.array([[0.2, 0.5], [0.1, 0.9], [0.7, 0.1]]))
    2
    """
    best = np.asarray(front, dtype=float).reshape(-1, points.shape[1])
    return int((best[None] <= points[:, None] + ROUNDING).all(-1).any(-1).sum())
