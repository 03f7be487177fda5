"""What a search on images of one's own begins with where nobody says it: the preset, and the size of the networks.

Small images get the cells of NAS-Bench-201; larger ones networks that look at them in several resolutions, so wide and
so fine that their latencies reach the budgets that are asked for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from modnas_fast.config import Config
from modnas_fast.config.space import keys_of
from modnas_fast.config.tree import PHOTO_SIDE
from modnas_fast.datasets.look import usual_side
from modnas_fast.devices.measure import threads_restored
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import make_space

SMALL, PHOTOS = "images", "mobilenet-small"
#: the budget that decides on the size
LATENCY_MS = "latency_ms"
#: passes that are timed
PASSES = 5
#: classes of the networks that are timed: their number hardly matters
CLASSES = 10


class Size(NamedTuple):
    """A setting of the space, and what its smallest and its largest network take here."""

    keys: Mapping[str, Any]
    least_ms: float
    most_ms: float

    def __str__(self) -> str:
        return f"{self.least_ms:.2g} to {self.most_ms:.2g} ms for one image on one thread"


def preset_of_images(place: str) -> str:
    """The preset for images at a place; what is wrong with them is told later.

    Raises nothing for images that cannot be used: they have the preset of small ones.
    """
    try:
        side = usual_side(str(Path(place).expanduser()))
    except InputError:
        return SMALL
    return PHOTOS if side is not None and side >= PHOTO_SIDE else SMALL


def sized(config: Config, budgets: Mapping[str, float]) -> tuple[Config, str]:
    """The configuration with networks of a size that reaches the budgets, and a line on it.

    The least of the space's `sizes` is taken whose largest network takes as long as the largest budget; of no size that
    looks at images larger than those at hand.

    Args:
        config: of the run.
        budgets: `latency_ms` alone, in ms for one image on one thread.

    Raises InputError for other budgets, and where there is nothing to choose from.
    """
    budget = _budget(budgets)
    sizes = keys_of(config.space.name).sizes
    if not sizes:
        raise InputError(
            f"max: networks of space {config.space.name} have one size; leave --max out, and ask pick for it"
        )
    taken = [key for key in sizes[0] if getattr(config.space, key) is not None]
    if taken:
        raise InputError(f"max: space.{taken[0]} is set, which --max would choose; leave one of them out")
    assert config.task.data is not None
    side = config.task.resize or usual_side(config.task.data) or 0
    fitting = [size for size in sizes if size["resolutions"][-1] <= side] or sizes[:1]
    for keys in fitting:
        size = _timed(config, keys, side)
        if size.most_ms >= budget:
            break
    space = config.space.model_copy(update=dict(size.keys))
    chosen = ", ".join(f"space.{key}={_plain(value)}" for key, value in size.keys.items())
    line = f"For {budget:g} ms: {chosen}, networks of {size}"
    if size.most_ms < budget:
        line += "; images of this size have no use for larger ones"
    return config.model_copy(update={"space": space}), line


def _budget(budgets: Mapping[str, float]) -> float:
    unknown = [key for key in budgets if key != LATENCY_MS]
    if unknown or not budgets:
        got = unknown[0] if unknown else "none"
        raise InputError(f"max: wanted {LATENCY_MS} alone, which decides on the size of networks, got {got}")
    if not 0 < budgets[LATENCY_MS] < float("inf"):
        raise InputError(f"max: wanted {LATENCY_MS} above 0, got {budgets[LATENCY_MS]}")
    return budgets[LATENCY_MS]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _timed(config: Config, keys: Mapping[str, Any], side: int) -> Size:
    """Medians of the smallest and the largest network."""
    space = make_space(config.space.name, {**config.space.arguments, **keys})
    assert space.ends is not None, "sizes are of nested networks"
    told = {"image_channels": 3, "classes": CLASSES, "input_shape": (3, side, side), **config.space.network}
    x = torch.zeros(1, 3, min(side, 2 * keys["resolutions"][-1]), min(side, 2 * keys["resolutions"][-1]))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), threads_restored():
        torch.set_num_threads(1)
        least, most = (_milliseconds(space.build(end, **told).eval(), x) for end in space.ends)
    return Size(keys, least, most)


def _milliseconds(network: nn.Module, x: torch.Tensor) -> float:
    times = []
    for _ in range(1 + PASSES):  # the first one prepares
        begun = time.perf_counter()
        network(x)
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[1:])
