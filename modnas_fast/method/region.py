"""Regions of a device's front that somebody cares about: intervals of objectives, or of preferences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modnas_fast.devices import Device
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective

if TYPE_CHECKING:
    from modnas_fast.config.tree import RegionConfig

#: from, to
Interval = tuple[float, float]
EVERYWHERE: Interval = (-float("inf"), float("inf"))


@dataclass(frozen=True)
class Region:
    """Networks whose M objectives lie within `values`, and that preferences within `weights` lead to."""

    values: tuple[Interval, ...]
    weights: tuple[Interval, ...]

    def outside(self, r: Tensor, values: Tensor) -> Tensor:
        """How far answers to preferences r [K, M] with objectives [K, M] are from the region, [K]; within it, 0.

        Distances are in widths of the interval that is missed, summed; an objective that is not known (NaN) misses
        none.

        >>> region = Region((EVERYWHERE, (2.0, 4.0)), (EVERYWHERE, EVERYWHERE))
        >>> r = torch.tensor([[0.5, 0.5]]).expand(3, 2)
        >>> region.outside(r, torch.tensor([[9.0, 3.0], [9.0, 1.0], [float("nan"), 6.0]]))
        tensor([0.0000, 0.5000, 1.0000])
        """
        return _missed(values, self.values) + _missed(r, self.weights)

    def to_dict(self, objectives: Sequence[Objective]) -> dict[str, Any]:
        """Plain values for JSON: `within` by key and `weights` by name of those that are bounded; null for no end."""
        within = zip((objective.key for objective in objectives), self.values)
        weights = zip((objective.name for objective in objectives), self.weights)
        return {"within": _bounded(within), "weights": _bounded(weights)}

    def normalized(self, device: Device) -> Region:
        """The same where costs are in the normalised ranges of a device."""
        costs = (
            tuple(float(device.normalize(torch.tensor(end), metric)) for end in interval)
            for interval, metric in zip(self.values[1:], device.metrics, strict=True)
        )
        return Region((self.values[0], *((low, high) for low, high in costs)), self.weights)


def _bounded(intervals: Iterable[tuple[str, Interval]]) -> dict[str, list[float | None]]:
    return {
        name: [end if math.isfinite(end) else None for end in interval]
        for name, interval in intervals
        if interval != EVERYWHERE
    }


def _missed(values: Tensor, intervals: Sequence[Interval]) -> Tensor:
    low, high = torch.tensor(intervals, dtype=values.dtype, device=values.device).unbind(-1)
    width = torch.where((high - low).isfinite(), high - low, torch.where(low.isfinite(), low, high).abs())
    distance = (low - values).clamp(min=0) + (values - high).clamp(min=0)
    return (distance / width.clamp(min=1e-6)).nan_to_num(nan=0.0).sum(-1)


def emphasis(costs: Tensor, regions: Sequence[Sequence[Region]], focus: float) -> Tensor:
    """How much networks with normalised costs [n, T, C] count on T devices, [n, T].

    1 where the costs lie within one of a device's regions, or where it has none; elsewhere 1 − `focus`.
    """
    counts = torch.ones(costs.shape[:2], dtype=costs.dtype)
    for column, asked in enumerate(regions):
        values = torch.cat([torch.full_like(costs[:, column, :1], float("nan")), costs[:, column]], dim=-1)
        anywhere = torch.full_like(values, float("nan"))  # preferences are not known
        outside = [region.outside(anywhere, values) for region in asked]
        if outside:
            counts[torch.stack(outside).amin(0) > 0, column] = 1 - focus
    return counts


def regions_by_device(
    regions: Sequence[RegionConfig], devices: Sequence[str], objectives: Sequence[Objective]
) -> dict[str, tuple[Region, ...]]:
    """By name of a device the regions that are asked for there, in the objectives' units; any of them counts.

    Raises InputError for a pattern that no device matches, and for what is no objective of the run.
    """
    found: dict[str, tuple[Region, ...]] = dict.fromkeys(devices, ())
    for place, asked in enumerate(regions):
        where = f"preferences.regions[{place}]"
        values = _in_order(f"{where}.within", asked.within, [objective.key for objective in objectives])
        weights = _in_order(f"{where}.weights", asked.weights, [objective.name for objective in objectives])
        for pattern in asked.devices:
            matching = [name for name in found if fnmatchcase(name, pattern)]
            if not matching:
                raise InputError(f"{where}.devices: no device matches {pattern!r}; there are {', '.join(found)}")
            for name in matching:
                found[name] = (*found[name], Region(values, weights))
    return found


def _in_order(
    where: str, asked: Mapping[str, tuple[float | None, float | None]], names: Sequence[str]
) -> tuple[Interval, ...]:
    if unknown := [name for name in asked if name not in names]:
        raise InputError(f"{where}: this run has {', '.join(names)}, and no {', '.join(unknown)}")
    ends = (asked.get(name, (None, None)) for name in names)
    return tuple((EVERYWHERE[0] if low is None else low, EVERYWHERE[1] if high is None else high) for low, high in ends)
