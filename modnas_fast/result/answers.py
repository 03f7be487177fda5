"""What a query of a result answers: a network, and its costs with where each number comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modnas_fast.evaluation.fronts import Point
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces.architecture import Architecture

if TYPE_CHECKING:  # questions are answered without torch
    from modnas_fast.devices.cost_source import Source
    from modnas_fast.result.content import QualityKind

ERROR = Objective("error", "%")
#: how far outside the range that was judged, in shares of the device's range, a prediction counts as inside: rounding
#: decides nothing, not even of the judged networks at the ends
JUDGED_SLACK = 1e-3


@dataclass(frozen=True)
class Cost:
    """What a network costs on a device, in `unit`.

    `extrapolated` where no measurement judges such a prediction; `doubt` says why measurements on the device, on which
    the number rests, are not trustworthy, and is empty where they are.
    """

    value: float
    unit: str
    source: Source
    extrapolated: bool = False
    doubt: str = ""


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
    #: further ones on the test part by name, such as BLEU, of answers' networks with inherited weights
    measures: dict[str, float] = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the numbers by name, and beside them units, sources and what to be wary of."""
        quality = self.objective.key
        return {
            "device": self.device,
            "architecture": self.text,
            **{key: cost.value for key, cost in self.costs.items()},
            quality: self.quality,
            "units": {**{key: cost.unit for key, cost in self.costs.items()}, quality: self.objective.unit},
            "sources": {**{key: cost.source for key, cost in self.costs.items()}, quality: self.quality_kind},
            **({"measures": self.measures} if self.measures else {}),
            "extrapolated": [key for key, cost in self.costs.items() if cost.extrapolated],
            "doubts": {key: cost.doubt for key, cost in self.costs.items() if cost.doubt},
        }

    def to_record(self) -> dict[str, Any]:
        """One flat row of a table: device, architecture, and per objective its value and where that comes from."""
        quality = self.objective.key
        return {
            "device": self.device,
            "architecture": self.text,
            quality: self.quality,
            f"{quality}_source": self.quality_kind,
            **self.measures,
            **_cost_columns(self.costs),
        }


@dataclass(frozen=True)
class FrontPoint(Point):
    """A network of a front, with where each of its costs comes from, by key."""

    costs: dict[str, Cost] = field(default_factory=dict, compare=False)
    #: as of `Pick`
    measures: dict[str, float] = field(default_factory=dict, compare=False)

    def to_record(self, device: str, quality: Objective, kind: QualityKind) -> dict[str, Any]:
        """One flat row of a table, as `Pick.to_record`, with the preference that led to the network; None without."""
        weights = dict(zip((quality.key, *self.costs), self.preference or [None] * (1 + len(self.costs))))
        return {
            "device": device,
            "architecture": self.architecture,
            quality.key: self.values[0],
            f"{quality.key}_source": kind,
            **self.measures,
            **_cost_columns(self.costs),
            **{f"preference_{key}": weight for key, weight in weights.items()},
        }


def _cost_columns(costs: dict[str, Cost]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for key, cost in costs.items():
        columns |= {
            key: cost.value,
            f"{key}_source": cost.source,
            f"{key}_extrapolated": cost.extrapolated,
            f"{key}_trustworthy": not cost.doubt,
        }
    return columns
