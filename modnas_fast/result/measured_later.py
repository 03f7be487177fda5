"""Costs of networks that were measured when a run had finished, and how they correct its predictions.

They are kept in measured.json of the run's folder, and every question asked later rests on them, too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modnas_fast.result.folder import MEASURED_FILE
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json

#: of measured.json
SCHEMA = 1
#: pairs of a prediction and a measurement that a correction wants
LEAST_PAIRS = 3


class Pair(NamedTuple):
    """A cost of a network on a device, in the cost's unit."""

    #: as the run's predictor has it, without any correction; None where that is extrapolated, and nothing judges it
    predicted: float | None
    measured: float
    #: why the measurement is not trustworthy; empty where it is
    doubt: str = ""


#: pairs by device, key of the cost and architecture
Later = dict[str, dict[str, dict[str, Pair]]]


def correction_of(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """What predictions of a cost on a device are multiplied by: the median of measured / predicted, or 1.

    It is 1 for fewer than three pairs, and where the median of the others tells the logarithm of a ratio that was left
    out no better than 0 does: noise leaves predictions as they are.

    Args:
        predicted, measured: positive, of the same networks.

    >>> round(correction_of([1.0, 2.0, 4.0], [1.1, 2.3, 4.4]), 9)
    1.1
    >>> correction_of([1.0, 2.0, 4.0], [1.1, 1.8, 4.0]), correction_of([1.0], [2.0])
    (1.0, 1.0)
    """
    logs = [math.log(known / told) for known, told in zip(measured, predicted, strict=True)]
    if len(logs) < LEAST_PAIRS:
        return 1.0
    left_out = [abs(log - statistics.median(logs[:at] + logs[at + 1 :])) for at, log in enumerate(logs)]
    helps = sum(left_out) < sum(abs(log) for log in logs)
    return math.exp(statistics.median(logs)) if helps else 1.0


def measured_later(run: Path) -> Later:
    """What the folder of a run keeps; empty without the file. Raises InputError where it is damaged."""
    path = run / MEASURED_FILE
    try:
        content = read_json(path)
        if content["schema"] != SCHEMA:
            raise ValueError
        return {
            device: {key: {text: _pair(pair) for text, pair in networks.items()} for key, networks in costs.items()}
            for device, costs in content["devices"].items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is damaged or of another version; delete it, and verify again") from None


def _pair(plain: Sequence[Any]) -> Pair:
    predicted, measured, doubt = plain
    told = predicted is None or 0 < predicted < math.inf
    if not (told and 0 < measured < math.inf and isinstance(doubt, str)):
        raise ValueError
    return Pair(predicted, measured, doubt)


def keep_measured(run: Path, device: str, costs: Mapping[str, Mapping[str, Pair]]) -> None:
    """Adds pairs by key and architecture to measured.json, by rename; newer ones replace older ones."""
    whole = measured_later(run)
    of_device = whole.setdefault(device, {})
    for key, networks in costs.items():
        of_device.setdefault(key, {}).update(networks)
    write_json(run / MEASURED_FILE, {"schema": SCHEMA, "devices": whole})


def corrections(run: Path) -> dict[str, dict[str, float]]:
    """By device and key, what predictions are multiplied by."""
    return {
        device: {key: correction_of(*_columns(networks)) for key, networks in costs.items()}
        for device, costs in measured_later(run).items()
    }


def _columns(networks: Mapping[str, Pair]) -> tuple[list[float], list[float]]:
    """Predictions that are not extrapolated, and what was measured of the same networks."""
    told = [(pair.predicted, pair.measured) for pair in networks.values() if pair.predicted is not None]
    return [predicted for predicted, _ in told], [measured for _, measured in told]


def with_measured(content: dict[str, Any], run: Path) -> dict[str, Any]:
    """The content of result.json with what was measured later among each device's measurements, and `corrections`."""
    later = measured_later(run)
    if not later:
        return content
    factors = corrections(run)
    devices = [
        _with_pairs(entry, later[entry["name"]], factors[entry["name"]]) if entry["name"] in later else entry
        for entry in content["devices"]
    ]
    return {**content, "devices": devices}


def _with_pairs(
    entry: dict[str, Any], costs: Mapping[str, Mapping[str, Pair]], factors: Mapping[str, float]
) -> dict[str, Any]:
    measured, trust = {**entry["measured"]}, {**entry.get("trust", {})}
    for key, networks in costs.items():
        known = str(trust.get(key, {}).get("why", ""))
        reasons = dict.fromkeys([*known.split("; "), *(pair.doubt for pair in networks.values())])
        if why := "; ".join(reason for reason in reasons if reason):
            trust[key] = {"trustworthy": False, "why": why}
        for text, pair in networks.items():
            measured[text] = {**measured.get(text, {}), key: pair.measured}
    return {**entry, "measured": measured, "trust": trust, "corrections": dict(factors)}
