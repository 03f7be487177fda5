"""Split-conformal bounds of predicted costs, from networks no predictor was trained on (Papadopoulos et al. 2002)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modnas_fast.runtime.errors import InputError


def check_confidence(confidence: float) -> None:
    """Raises InputError for what is no probability of an uncertain thing."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence: wanted a number between 0 and 1, such as 0.9, got {confidence:g}")


def least_networks(confidence: float) -> int:
    """How many held-out networks such a bound needs.

    >>> [least_networks(confidence) for confidence in (0.8, 0.9, 0.95)]
    [4, 9, 19]
    """
    return math.ceil(confidence / (1 - confidence) - 1e-9)


def conformal_factor(predicted: Sequence[float], measured: Sequence[float], confidence: float) -> float:
    """What a prediction is multiplied by, so that a further network's cost is within it with probability `confidence`.

    The ⌈(n + 1) · confidence⌉-th smallest of the ratios measured / predicted of n held-out networks. It holds, whatever
    predictor and device are, where the further network is drawn as those were (exchangeable).

    Args:
        predicted, measured: positive, of the same n networks.
        confidence: between 0 and 1.

    >>> conformal_factor([1.0] * 9, [0.9, 1.0, 1.1, 1.2, 0.8, 1.05, 0.95, 1.3, 1.15], 0.8)
    1.2

    Raises InputError for a confidence out of range, and for too few networks, with how many it wants.
    """
    check_confidence(confidence)
    count, wanted = len(measured), least_networks(confidence)
    if count < wanted:
        raise InputError(
            f"confidence: {confidence:g} wants at least {wanted} held-out networks measured on the device, there are "
            f"{count}; search with a larger devices.heldout, or ask for less"
        )
    ratios = sorted(known / told for known, told in zip(measured, predicted, strict=True))
    return ratios[math.ceil((count + 1) * confidence - 1e-9) - 1]


def halves_coverage(predicted: Sequence[float], measured: Sequence[float], confidence: float) -> float | None:
    """Share of n networks within bounds that rest on the other half of them; None where a half is too few for a bound.

    Halves are every other network, and each judges the other once, so that no network is within a bound of its own.

    Args:
        predicted, measured: positive, of the same n networks in random order.
        confidence: of the bounds.

    >>> halves_coverage([1.0] * 8, [1.0, 1.1, 1.2, 1.3, 0.9, 1.0, 1.1, 1.2], 0.8)
    0.875
    >>> halves_coverage([1.0] * 7, [1.0] * 7, 0.8)
    """
    halves = [(predicted[begin::2], measured[begin::2]) for begin in (0, 1)]
    if min(len(half) for half, _ in halves) < least_networks(confidence):
        return None
    within = 0
    for (told, known), other in zip(halves, reversed(halves)):
        factor = conformal_factor(*other, confidence)
        within += sum(value <= factor * prediction for prediction, value in zip(told, known))
    return within / len(measured)
