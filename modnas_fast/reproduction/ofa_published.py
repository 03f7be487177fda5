"""Once-for-All's published networks beside the fronts: which of them a device's fronts dominate or equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.reproduction.covered import beside_fronts
from modnas_fast.reproduction.trial import Entry
from modnas_fast.spaces.mobilenetv3.judge import TOP1, TRAINED
from modnas_fast.spaces.mobilenetv3.published import accuracy_net
from modnas_fast.spaces.mobilenetv3.published_networks import NETWORKS
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.spaces.parts import PartTable

#: the only other width that networks were published of
OTHER_WIDTH = 1.0


def space_of_width(width: float) -> MobileNetV3Space:
    """Once-for-All's choices at a width, with the resolutions of those published networks that are judged."""
    sides = {network.resolution for network in NETWORKS if network.width == width}
    return MobileNetV3Space("published", width=width, resolutions=sorted(s for s in sides if s <= TRAINED[1]))


def judged_errors() -> list[float | None]:
    """Errors in percent of the published networks, judged by the line of their own width; None above 224 pixels."""
    found: list[float | None] = [None] * len(NETWORKS)
    for width in TOP1:
        space = space_of_width(width)
        places = [place for place, network in enumerate(NETWORKS) if network.fits(space.scale)]
        onehot = space.encode([space.parse(NETWORKS[place].architecture) for place in places])
        for place, error in zip(places, accuracy_net(space)(onehot).tolist()):
            found[place] = error
    return found


def published_entry(
    benchmark: Benchmark, methods: Sequence[Entry], others: Mapping[str, PartTable] | None = None
) -> Entry:
    """`published` of reproduction.json, with `compared` more: by device, the places of those compared in `networks`.

    Compared are the networks of the benchmark's space and, on devices of `others`, those of `OTHER_WIDTH`, which no
    search could find.

    Args:
        benchmark: with judges, of networks of width 1.2.
        methods: entries of a reproduction.
        others: by device, a table with the latency of the networks of `space_of_width(OTHER_WIDTH)`.
    """
    errors, space = judged_errors(), benchmark.space
    assert isinstance(space, MobileNetV3Space)
    own = [place for place, network in enumerate(NETWORKS) if network.fits(space.scale)]
    onehot = space.encode([space.parse(NETWORKS[place].architecture) for place in own])
    points = {device.name: benchmark.judged_points(device.name, onehot) for device in benchmark.devices}
    compared = dict.fromkeys(points, own)
    other = space_of_width(OTHER_WIDTH)
    more = [place for place, network in enumerate(NETWORKS) if network.fits(other.scale)]
    for name, table in (others or {}).items():
        costs = table.costs(name, other.encode([other.parse(NETWORKS[place].architecture) for place in more]))
        told = torch.tensor([errors[place] for place in more], dtype=torch.float64)
        values = benchmark.fronts[name].normalize(torch.cat([told[:, None], costs], dim=1).numpy())
        points[name], compared[name] = np.concatenate([points[name], values]), own + more
    judged = ["not judged" if error is None else f"judged {100 - error:.2f} %" for error in errors]
    return {
        "networks": [f"{network.words}, {words}" for network, words in zip(NETWORKS, judged)],
        "compared": compared,
        **beside_fronts(points, methods),
    }
