"""Points of networks on a device, what of them is on the front, and its hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import moocore
import numpy as np
import torch
from torch import Tensor

REFERENCE_POINT = (1.0, 1.0)


@dataclass(frozen=True)
class Point:
    """One network on one device: error in percent, predicted latency in ms; `preference` where a ray led to it."""

    architecture: str
    error: float
    latency_ms: float
    preference: tuple[float, ...] | None = None


_P = TypeVar("_P", bound=Point)


@dataclass(frozen=True)
class Bounds:
    """What is 0 and 1 in the hypervolume's two axes."""

    error: tuple[float, float]
    latency_ms: tuple[float, float]

    def normalize(self, points: Sequence[Point]) -> np.ndarray:
        """[n, 2] in the hypervolume's units."""
        values = np.array([[point.error, point.latency_ms] for point in points], dtype=float).reshape(-1, 2)
        low = np.array([self.error[0], self.latency_ms[0]])
        high = np.array([self.error[1], self.latency_ms[1]])
        return (values - low) / (high - low)


def hypervolume(points: Sequence[Point], bounds: Bounds) -> float:
    """Hypervolume of the points with reference point (1, 1), both objectives minimised.

    >>> bounds = Bounds(error=(0.0, 90.0), latency_ms=(1.0, 3.0))
    >>> hypervolume([Point("a", 45.0, 2.0)], bounds)
    0.25
    """
    if not points:
        return 0.0
    return float(moocore.hypervolume(bounds.normalize(points), ref=np.array(REFERENCE_POINT)))


def nondominated(points: Sequence[Point]) -> list[bool]:
    """Per point, whether no other has both objectives at least as good and one better; of equal points the first."""
    if not points:
        return []
    values = np.array([[point.error, point.latency_ms] for point in points], dtype=float)
    return moocore.is_nondominated(values).tolist()


def front(points: Sequence[_P]) -> list[_P]:
    """The distinct non-dominated points, by rising latency."""
    return sorted(
        (point for point, keep in zip(points, nondominated(points)) if keep), key=lambda point: point.latency_ms
    )


def front_membership(errors: Tensor, costs: Tensor) -> Tensor:
    """Whether each of n networks is on the front of each of T devices, bool [n, T]; of equal points the first is.

    Args:
        errors: the same on every device, [n].
        costs: [n, T, C].

    >>> front_membership(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[[2.0]], [[1.0]], [[1.5]]])).flatten().tolist()
    [True, True, False]
    """
    points = torch.cat([errors.double()[:, None, None].expand(-1, costs.shape[1], 1), costs.double()], dim=-1)
    return torch.stack([torch.from_numpy(moocore.is_nondominated(p.numpy())) for p in points.unbind(1)], dim=-1)
