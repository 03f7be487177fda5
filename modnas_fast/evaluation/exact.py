"""Comparison with an exact front: the published protocol on a space whose networks are all known.

Networks that learned nothing are dropped; every objective is min-max normalised per device over the rest of the table;
the hypervolume's reference point is (1, …, 1). (MODNAS's published evaluation of NAS-Bench-201, in which those
dropped have an error of 90 %.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import moocore
import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """How good a set of networks is on one device."""

    hypervolume: float
    #: hypervolume / hypervolume of the exact front
    ratio: float
    #: IGD+ to the exact front (Ishibuchi et al. 2015), in normalised units
    igd_plus: float
    #: distinct non-dominated networks
    networks: int

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


class ExactFront:
    """All n networks of a space on one device, with the exact front among them.

    Args:
        errors: true errors in percent, [n].
        costs: true costs in their units, [n, C].
        kept: which networks learned something, bool [n].
        measured: where errors and costs are judged by models: the front of the same networks as they were measured,
            whose bounds are taken.

    >>> import torch
    >>> table = ExactFront(torch.tensor([5.0, 10.0, 20.0]), torch.tensor([[3.0], [2.0], [1.0]]), torch.ones(3) > 0)
    >>> table.hypervolume, table.score([0, 1]).networks
    (0.33333333333333337, 2)
    """

    low: np.ndarray
    high: np.ndarray

    def __init__(self, errors: Tensor, costs: Tensor, kept: Tensor, measured: ExactFront | None = None) -> None:
        values = np.column_stack([errors.double().numpy(), costs.double().numpy()])
        self.measured = measured
        self.kept = kept.numpy()
        """Which networks count, bool [n]."""
        self.low = measured.low if measured else values[self.kept].min(axis=0)
        self.high = measured.high if measured else values[self.kept].max(axis=0)
        """What is 0 and 1: error in percent and costs in their units, [M] each."""
        self.values = self.normalize(values)
        """Normalised objectives [n, M] of all networks; those dropped lie outside of [0, 1]."""

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Objectives [n, M] in their units, errors first, as normalised ones."""
        normalized: np.ndarray = (values - self.low) / (self.high - self.low)
        return normalized

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the exact front, by rising error."""
        candidates = np.flatnonzero(self.kept)
        best = candidates[moocore.is_nondominated(self.values[candidates])]
        return best[np.argsort(self.values[best, 0])]

    @cached_property
    def hypervolume(self) -> float:
        """Of the exact front."""
        return _hypervolume(self.values[self.rows])

    def score(self, rows: Sequence[int]) -> Score:
        """How good the networks in `rows` are; dropped ones do not count."""
        return self.score_points(self.points(rows))

    def points(self, rows: Sequence[int]) -> np.ndarray:
        """Normalised objectives [n, M] of the distinct networks in `rows` that are not dropped."""
        distinct = np.unique([row for row in rows if self.kept[row]]).astype(int)
        return self.values[distinct]

    def score_points(self, points: np.ndarray) -> Score:
        """How good networks of these normalised objectives [n, M] are."""
        if not len(points):
            return Score(0.0, 0.0, float(np.sqrt(self.values.shape[1])), 0)
        value, best = _hypervolume(points), points[moocore.is_nondominated(points)]
        distance = float(moocore.igd_plus(best, ref=self.values[self.rows]))
        return Score(value, value / self.hypervolume, distance, len(best))

    def front(self, rows: Sequence[int]) -> list[int]:
        """The non-dominated ones among `rows`, distinct, by rising error."""
        distinct = np.unique([row for row in rows if self.kept[row]]).astype(int)
        best = distinct[moocore.is_nondominated(self.values[distinct])] if len(distinct) else distinct
        return best[np.argsort(self.values[best, 0])].tolist()


def front_of(points: np.ndarray) -> np.ndarray:
    """The non-dominated ones among normalised objectives [n, M], by rising error."""
    best = points[moocore.is_nondominated(points)] if len(points) else points
    return best[np.argsort(best[:, 0])]


def _hypervolume(points: np.ndarray) -> float:
    return float(moocore.hypervolume(points, ref=np.ones(points.shape[1])))
