"""What is minimised: a name with its unit."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """One objective, such as the error in % or the latency in ms; all are minimised.

    >>> Objective("latency", "ms").key, Objective("energy", "mJ").key, Objective("error", "%").key
    ('latency_ms', 'energy_mj', 'error')
    """

    name: str
    unit: str = ""

    @property
    def key(self) -> str:
        """Name and unit in small letters: what stands in files, in budgets and in answers."""
        unit = re.sub("[^a-z0-9]+", "_", self.unit.replace("µ", "u").replace("μ", "u").lower()).strip("_")
        return f"{self.name}_{unit}" if unit else self.name


def whole(quality: Objective, chance: float) -> float:
    """What a quality is divided by to be a share: 100 for percents, else the quality of a guess, `chance`."""
    return 100.0 if quality.unit == "%" else chance


def costs_of(metrics: dict[str, str]) -> tuple[Objective, ...]:
    """The objectives of a device's metrics, units by name, in their order.

    >>> [cost.key for cost in costs_of({"latency": "ms", "energy": "mJ"})]
    ['latency_ms', 'energy_mj']
    """
    return tuple(Objective(name, unit) for name, unit in metrics.items())
