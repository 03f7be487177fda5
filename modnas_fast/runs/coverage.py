"""How often bounds of predicted costs hold where something was measured: what `pick --confidence` promises, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modnas_fast.evaluation.conformal import conformal_factor, halves_coverage, least_networks

#: of the bounds that are counted
LEVELS = (0.8, 0.9)


def with_coverage(
    quality: Mapping[str, Any],
    predicted: Mapping[str, Mapping[str, Mapping[str, float]]],
    entries: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The entries of predictor.json, and in each cost its `coverage` by confidence.

    `held_out` is the share of held-out networks within bounds of the other half of them, None for too few; `chosen`
    how many of the networks that were chosen and measured behind the search are within the bounds of all held-out ones,
    [within, of], None for too few of those or none measured.

    Args:
        quality: by device, as `predictor_entries` gives them.
        predicted: costs of chosen networks by device, network and key.
        entries: of result.json, with what was measured on each device.
    """
    measured = {entry["name"]: entry["measured"] for entry in entries}
    return {
        device: {
            **entry,
            "costs": {
                key: {**cost, "coverage": _coverage(cost, _pairs(key, predicted[device], measured[device]))}
                for key, cost in entry["costs"].items()
            },
        }
        for device, entry in quality.items()
    }


def _pairs(
    key: str, predicted: Mapping[str, Mapping[str, float]], measured: Mapping[str, Mapping[str, float]]
) -> list[tuple[float, float]]:
    """Predicted and measured cost of the networks of which both are known."""
    return [(costs[key], measured[text][key]) for text, costs in predicted.items() if key in measured.get(text, {})]


def _coverage(cost: Mapping[str, Any], chosen: Sequence[tuple[float, float]]) -> dict[str, Any]:
    told, known = cost["predicted"], cost["measured"]
    found = {}
    for level in LEVELS:
        within = None
        if chosen and len(known) >= least_networks(level):
            factor = conformal_factor(told, known, level)
            within = [sum(value <= factor * prediction for prediction, value in chosen), len(chosen)]
        found[f"{level:g}"] = {"held_out": halves_coverage(told, known, level), "chosen": within}
    return found
