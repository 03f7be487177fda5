"""Points of networks on a device, what of them is on the front, and its hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # a finished run is asked without torch
    from torch import Tensor

    from modnas_fast.devices.cost_source import Source

#: of the hypervolume in every normalised objective
REFERENCE = 1.0


@dataclass(frozen=True)
class Point:
    """One network on one device: its objectives, the task's quality first; `preference` where a ray led to it."""

    architecture: str
    values: tuple[float, ...]
    preference: tuple[float, ...] | None = None
    #: of the costs, where each comes from; empty where all are predicted
    sources: tuple[Source, ...] = ()


_P = TypeVar("_P", bound=Point)


@dataclass(frozen=True)
class Bounds:
    """What is 0 and 1 in the hypervolume's axes, one number per objective."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def normalize(self, points: Sequence[Point]) -> np.ndarray:
        """[n, M] in the hypervolume's units."""
        low, high = np.array(self.low), np.array(self.high)
        return (_values(points, len(low)) - low) / (high - low)


def _values(points: Sequence[Point], objectives: int) -> np.ndarray:
    return np.array([point.values for point in points], dtype=float).reshape(-1, objectives)


def hypervolume(points: Sequence[Point], bounds: Bounds) -> float:
    """Hypervolume of the points with reference point (1, …, 1), all objectives minimised.

    >>> bounds = Bounds(low=(0.0, 1.0), high=(90.0, 3.0))
    >>> hypervolume([Point("a", (45.0, 2.0))], bounds)
    0.25
    """
    import moocore

    if not points:
        return 0.0
    return float(moocore.hypervolume(bounds.normalize(points), ref=np.full(len(bounds.low), REFERENCE)))


def nondominated(points: Sequence[Point]) -> list[bool]:
    """Per point, whether no other is at least as good in all and better in one; of equal points the first."""
    import moocore

    if not points:
        return []
    return moocore.is_nondominated(_values(points, len(points[0].values))).tolist()


def front(points: Sequence[_P]) -> list[_P]:
    """The distinct non-dominated points, by rising costs, the first cost first."""
    return sorted((point for point, keep in zip(points, nondominated(points)) if keep), key=lambda p: p.values[1:])


def spread(points: Sequence[_P], count: int) -> list[_P]:
    """`count` of the points of a front, far from each other in all objectives, in their order; all of fewer.

    The one of least quality first, then again and again the farthest from those that were taken. Distances are sums
    over objectives, each in the range of the points.

    >>> found = [Point(name, values) for name, values in zip("abcd", ((9.0, 1.0), (5.0, 2.0), (4.8, 2.1), (1.0, 3.0)))]
    >>> [point.architecture for point in spread(found, 3)]
    ['a', 'b', 'd']
    """
    if len(points) <= count:
        return list(points)
    values = _values(points, len(points[0].values))
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    taken = [int(values[:, 0].argmin())]
    apart = np.abs(scaled - scaled[taken[0]]).sum(axis=1)
    while len(taken) < count:
        taken.append(int(apart.argmax()))
        apart = np.minimum(apart, np.abs(scaled - scaled[taken[-1]]).sum(axis=1))
    return [points[row] for row in sorted(taken)]


def front_membership(errors: Tensor, costs: Tensor) -> Tensor:
    """Whether each of n networks is on the front of each of T devices, bool [n, T]; of equal points the first is.

    Args:
        errors: the same on every device, [n].
        costs: [n, T, C].

    >>> import torch
    >>> front_membership(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[[2.0]], [[1.0]], [[1.5]]])).flatten().tolist()
    [True, True, False]
    """
    import moocore
    import torch

    points = torch.cat([errors.double()[:, None, None].expand(-1, costs.shape[1], 1), costs.double()], dim=-1)
    return torch.stack([torch.from_numpy(moocore.is_nondominated(p.numpy())) for p in points.unbind(1)], dim=-1)
