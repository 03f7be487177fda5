"""Objectives of the search on a common scale: near 0 the best, near 1 the worst of uniformly random networks.

Scalarizations compare objectives by size. Task losses of good and of cheap networks may differ by a
tenth, costs by their whole range; unscaled, most preferences then lead to the same few networks. The task loss is
scaled as a logarithm: halving it counts the same whether it is large or small.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: weight of the past in the running range of the task loss
MOMENTUM = 0.8
#: share of the random networks taken as worse than the worst that matters, unless told otherwise
TAIL = 0.05
#: how far, in scaled units, the ideal task loss lies below the best of the random networks: the search finds better
#: ones, and a Chebyshev scalarization rewards nothing beyond the ideal
UTOPIA = 0.15
#: the same for the cost, whose best is known better
COST_UTOPIA = 0.02
#: nats, and share of wrong answers, that are small beside the differences that matter
CROSS_ENTROPY_FLOOR = 1e-3
ERROR_FLOOR = 0.005


class ObjectiveScale:
    """Maps task loss and costs of devices to the common scale; with `enabled=False` leaves them as they are.

    The range of the cost is fixed per device; that of the task loss follows the supernet's training as a running
    mean over calls of `observe`.

    Args:
        costs: predicted costs of all or of random networks on the T devices, [n, T, C].
        enabled: False for the paper's raw objectives.
        floor: added to task losses before the logarithm, in their unit.
        tail: share of the random networks taken as worse than the worst whose task loss matters.
    """

    def __init__(self, costs: Tensor, enabled: bool, floor: float = CROSS_ENTROPY_FLOOR, tail: float = TAIL) -> None:
        self.enabled = enabled
        self._floor = floor
        self._tail = tail
        low, high = costs.amin(dim=0), costs.quantile(1 - TAIL, dim=0)
        self._cost_low, self._cost_width = low, (high - low).clamp(min=1e-6)
        self._task_range: tuple[float, float] | None = None

    def to_(self, device: torch.device) -> None:
        """Moves the ranges of the costs: losses and indices of devices lie there from then on."""
        self._cost_low, self._cost_width = self._cost_low.to(device), self._cost_width.to(device)

    def observe(self, task_losses: Tensor, chance: float) -> None:
        """Takes in the task losses [n] of uniformly random networks; those close to `chance` learned nothing."""
        learned = task_losses[task_losses < 0.9 * chance]
        if len(learned) < 2:
            return
        learned = (learned + self._floor).log()
        low, high = float(learned.min()), float(learned.quantile(1 - self._tail))
        if self._task_range is not None:
            low = MOMENTUM * self._task_range[0] + (1 - MOMENTUM) * low
            high = MOMENTUM * self._task_range[1] + (1 - MOMENTUM) * high
        self._task_range = (low, high)

    def __call__(self, task_loss: Tensor, cost: Tensor, devices: Tensor) -> Tensor:
        """L [..., t, 1 + C] of task losses [..., t] and costs [..., t, C] of the devices with indices `devices` [t]."""
        if self.enabled:
            low, high = self._task_range or (0.0, 1.0)
            task_loss = ((task_loss + self._floor).log() - low) / max(high - low, 1e-3) + UTOPIA
            cost = (cost - self._cost_low[devices]) / self._cost_width[devices] + COST_UTOPIA
        return torch.cat([task_loss[..., None], cost], dim=-1)

    def state_dict(self) -> dict[str, Any]:
        """The running range."""
        return {"task_range": self._task_range}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues with the range in `state`."""
        self._task_range = None if state["task_range"] is None else tuple(state["task_range"])
