"""Networks that meet budgets with a probability that held-out measurements back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modnas_fast.evaluation.conformal import check_confidence, conformal_factor
from modnas_fast.result.answers import Pick
from modnas_fast.result.folder import QUALITY_FILE
from modnas_fast.result.measured_later import corrections
from modnas_fast.result.result import Result
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json

#: of networks within the budgets by prediction, how many are looked at
LOOKED_AT = 100_000


@dataclass(frozen=True)
class ConfidentPick:
    """The best network whose bounds are within the budgets."""

    pick: Pick
    #: that all predicted costs are within the budgets
    confidence: float
    #: by key, what a cost is at most; of costs that are known it is the cost itself
    bounds: dict[str, float]
    #: by key of a predicted cost, of how many held-out networks and by which factor
    held_out: dict[str, tuple[int, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As `Pick.to_dict`, with `confidence`, `bounds` and `held_out`."""
        held_out = {key: {"networks": count, "factor": factor} for key, (count, factor) in self.held_out.items()}
        return {**self.pick.to_dict(), "confidence": self.confidence, "bounds": self.bounds, "held_out": held_out}


def confident_pick(result: Result, device: str, budgets: Mapping[str, float], confidence: float) -> ConfidentPick:
    """The network of least error whose costs are within the budgets with probability `confidence`.

    A predicted cost is bounded by split conformal prediction over the networks that were held out on the device; with
    several predicted costs the rest of the probability is divided among them. Measured, tabulated and exact costs count
    as they are. The bound is that of a network drawn as the held-out ones were; a search prefers networks whose cost is
    predicted too low, and `export` measures the one that was picked.

    Raises InputError as `Result.pick` does, for too few held-out networks, and where no bound is within the budgets.
    """
    check_confidence(confidence)
    candidates = result.top(device, max=budgets, count=LOOKED_AT)
    predicted = sorted({key for pick in candidates for key in budgets if pick.costs[key].source == "predicted"})
    level = 1 - (1 - confidence) / max(1, len(predicted))
    factors = {key: _factor(result, device, key, level) for key in predicted}
    least: dict[str, float] = {}
    for pick in candidates:
        bounds = {}
        for key in budgets:
            cost = pick.costs[key]
            bounds[key] = cost.value * (factors[key][1] if cost.source == "predicted" else 1.0)
            least[key] = min(bounds[key], least.get(key, float("inf")))
        if all(bounds[key] <= limit for key, limit in budgets.items()):
            return ConfidentPick(pick, confidence, bounds, factors)
    found = ", ".join(f"{key} {value:.4g}" for key, value in least.items())
    raise InputError(
        f"max: no evaluated network is within the budgets on {device} with confidence {confidence:g}; the least bounds "
        f"there are: {found}"
    )


def _factor(result: Result, device: str, key: str, level: float) -> tuple[int, float]:
    """How many networks were held out, and the factor of the bound."""
    path = result.run / QUALITY_FILE
    try:
        costs = read_json(path)["devices"][device]["costs"][key]
        predicted, measured = costs["predicted"], costs["measured"]
        assert len(predicted) == len(measured)
    except FileNotFoundError:
        raise InputError(f"confidence: {path} is missing, which has the held-out networks; continue the run") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise InputError(f"confidence: {path} tells nothing of {key} on {device}; continue or repeat the run") from None
    corrected = corrections(result.run).get(device, {}).get(key, 1.0)
    return len(measured), conformal_factor([corrected * value for value in predicted], measured, level)
