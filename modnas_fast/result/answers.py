"""What a query of a result answers: a network, and its costs with where each number comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from modnas_fast.evaluation.fronts import Point
from modnas_fast.result.content import ErrorKind
from modnas_fast.spaces import Architecture

#: where a cost comes from, the most trustworthy first
Source = Literal["measured", "tabulated", "predicted"]


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
    #: in percent; None for an architecture whose error the run does not know
    error: float | None = None
    #: of the run's errors: inherited from the supernet's weights, or true ones of a table
    error_kind: ErrorKind = "inherited"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the numbers by name, and beside them units, sources and what is extrapolated."""
        return {
            "device": self.device,
            "architecture": self.text,
            **{key: cost.value for key, cost in self.costs.items()},
            "error": self.error,
            "units": {**{key: cost.unit for key, cost in self.costs.items()}, "error": "%"},
            "sources": {**{key: cost.source for key, cost in self.costs.items()}, "error": self.error_kind},
            "extrapolated": [key for key, cost in self.costs.items() if cost.extrapolated],
        }


@dataclass(frozen=True)
class FrontPoint(Point):
    """A network of a front, with where its latency comes from."""

    source: Source = "predicted"
    extrapolated: bool = False
