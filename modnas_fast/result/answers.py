"""What a query of a result answers: a network, and its costs with where each number comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modnas_fast.devices.cost_source import Source
from modnas_fast.evaluation.fronts import Point
from modnas_fast.result.content import QualityKind
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces import Architecture

ERROR = Objective("error", "%")


@dataclass(frozen=True)
class Cost:
    """What a network costs on a device, in `unit`; `extrapolated` where no measurement judges such a prediction."""

    value: float
    unit: str
    source: Source
    extrapolated: bool = False


@dataclass(frozen=True)
class Pick(Architecture):
    """The answer to a query: an architecture with what is known of it on the device asked about."""

    device: str = ""
    #: by metric and unit: {"latency_ms": Cost(1.2, "ms", "measured")}
    costs: dict[str, Cost] = field(default_factory=dict, compare=False)
    #: of the task, in the unit of `objective`; None for an architecture whose quality the run does not know
    quality: float | None = None
    #: of the run's qualities: inherited from the supernet's weights, or true ones of a table
    quality_kind: QualityKind = "inherited"
    #: the task's quality
    objective: Objective = ERROR

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the numbers by name, and beside them units, sources and what is extrapolated."""
        quality = self.objective.key
        return {
            "device": self.device,
            "architecture": self.text,
            **{key: cost.value for key, cost in self.costs.items()},
            quality: self.quality,
            "units": {**{key: cost.unit for key, cost in self.costs.items()}, quality: self.objective.unit},
            "sources": {**{key: cost.source for key, cost in self.costs.items()}, quality: self.quality_kind},
            "extrapolated": [key for key, cost in self.costs.items() if cost.extrapolated],
        }


@dataclass(frozen=True)
class FrontPoint(Point):
    """A network of a front, with where each of its costs comes from, by key."""

    costs: dict[str, Cost] = field(default_factory=dict, compare=False)
