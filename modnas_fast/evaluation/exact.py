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

    >>> import torch
    >>> table = ExactFront(torch.tensor([5.0, 10.0, 20.0]), torch.tensor([[3.0], [2.0], [1.0]]), torch.ones(3) > 0)
    >>> table.hypervolume, table.score([0, 1]).networks
    (0.33333333333333337, 2)
    """

    def __init__(self, errors: Tensor, costs: Tensor, kept: Tensor) -> None:
        values = np.column_stack([errors.double().numpy(), costs.double().numpy()])
        self.kept = kept.numpy()
        """Which networks count, bool [n]."""
        self.low, self.high = values[self.kept].min(axis=0), values[self.kept].max(axis=0)
        """What is 0 and 1: error in percent and costs in their units, [M] each."""
        self.values = (values - self.low) / (self.high - self.low)
        """Normalised objectives [n, M] of all networks; those dropped lie outside of [0, 1]."""

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the exact front, by rising error."""
        candidates = np.flatnonzero(self.kept)
        best = candidates[moocore.is_nondominated(self.values[candidates])]
        return best[np.argsort(self.values[best, 0])]

    @cached_property
    def hypervolume(self) -> float:
        """Of the exact front."""
        return self._hypervolume(self.rows)

    def score(self, rows: Sequence[int]) -> Score:
        """How good the networks in `rows` are; dropped ones do not count."""
        distinct = np.unique([row for row in rows if self.kept[row]]).astype(int)
        if not len(distinct):
            return Score(0.0, 0.0, float(np.sqrt(self.values.shape[1])), 0)
        value = self._hypervolume(distinct)
        best = distinct[moocore.is_nondominated(self.values[distinct])]
        distance = float(moocore.igd_plus(self.values[best], ref=self.values[self.rows]))
        return Score(value, value / self.hypervolume, distance, len(best))

    def front(self, rows: Sequence[int]) -> list[int]:
        """The non-dominated ones among `rows`, distinct, by rising error."""
        distinct = np.unique([row for row in rows if self.kept[row]]).astype(int)
        best = distinct[moocore.is_nondominated(self.values[distinct])] if len(distinct) else distinct
        return best[np.argsort(self.values[best, 0])].tolist()

    def _hypervolume(self, rows: np.ndarray) -> float:
        return float(moocore.hypervolume(self.values[rows], ref=np.ones(self.values.shape[1])))
