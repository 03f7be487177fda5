"""What a search logs while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """What was logged during a search: one entry per logged step, lists over devices where so named.

    Update schemes that step for one device at a time (`sequential`, `sample`) log nothing but `tracked`.
    """

    devices: list[str]
    step: list[int] = field(default_factory=list)
    task_loss: list[list[float | None]] = field(default_factory=list)
    """On the validation minibatch, per device; None for one that was not in the step (`search.devices_per_step`)."""
    costs: list[list[list[float | None]]] = field(default_factory=list)
    """Predicted, in the device's normalised ranges, per device and cost; None as above."""
    mgd_weights: list[list[float]] = field(default_factory=list)
    """γ per device; 0 for one that was not in the step."""
    gradient_cosine: list[float | None] = field(default_factory=list)
    """Mean over pairs of devices; None for a single one."""
    learning_rate_w: list[float] = field(default_factory=list)
    refinement: list[dict[str, Any]] = field(default_factory=list)
    """Steps of the refinement: `step`, `mgd_weights` per device, `gradient_cosine` as above."""
    tracked: list[dict[str, Any]] = field(default_factory=list)
    """Evaluations during the search: `step`, and `points` as the objectives of every ray by device name."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and the checkpoint."""
        return dict(vars(self))
