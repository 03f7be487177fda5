"""What rounds of measuring tell of networks on one setting, the machine's drift taken out by anchors: numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

#: a round is calm while no sign of a disturbance exceeds this share
CALM = 0.10
#: the rounds with the least drift, that is the quiet machine, are the unit of what is measured first
QUIET_QUANTILE = 0.25
#: probability that the interval of a median holds it
CONFIDENCE = 0.95
#: alternating medians over rounds and anchors until both are at rest
POLISHES = 4


@dataclass(frozen=True)
class Corrected:
    """Networks of one setting over R rounds: N values, and what speaks for and against them.

    Args:
        latency_ms: medians over the rounds kept of value / drift, [N].
        noise: median absolute deviations of the same, relative, [N].
        half_width: of the medians' intervals, relative, [N].
        drift: per round, how many times as slow the anchors were as at first, [R].
        calm: which rounds nothing disturbed, [R].
        disagreement: how far the anchors are from their first values after the correction, as a median, relative.
    """

    latency_ms: np.ndarray
    noise: np.ndarray
    half_width: np.ndarray
    drift: np.ndarray
    calm: np.ndarray
    disagreement: float


def correct(
    values_ms: np.ndarray, anchors: Sequence[int], first_ms: np.ndarray | None, disturbance: np.ndarray, least: int
) -> Corrected:
    """The values of networks as they would be had the machine been as it was at first.

    The drift of a round is the median over the anchors of their value in it over their first value, so that a slow
    phase, which hits networks and anchors alike, cancels. Of rounds that were disturbed while they lasted (the anchors
    disagree with each other, or the kernel tells of it), only the calmest count, and only where too few are calm.

    Args:
        values_ms: one round per row, [R, N].
        anchors: columns of the anchors; without any nothing is corrected.
        first_ms: what the anchors took at first, [A]; None: these rounds are the first, their quietest are the unit.
        disturbance: per round a share of the time, from elsewhere, [R].
        least: rounds that are kept at least.

    >>> slow_then_quiet = np.array([[2.0, 4.0], [2.0, 4.0], [1.0, 2.0]])
    >>> correct(slow_then_quiet, [0], np.array([1.0]), np.zeros(3), 3).latency_ms
    array([1., 2.])
    """
    rounds = len(values_ms)
    drift, spread, disagreement = np.ones(rounds), np.zeros(rounds), 0.0
    if len(anchors):
        of_anchors = values_ms[:, list(anchors)]
        own = _level(of_anchors)
        spread = np.median(np.abs(of_anchors / (own * _ratio(of_anchors, own)[:, None]) - 1), axis=1)
        first = own if first_ms is None else first_ms
        drift = _ratio(of_anchors, first)
        shift = own / first
        disagreement = float(np.median(np.abs(shift / np.median(shift) - 1)))
    disturbed = np.maximum(spread, disturbance)
    calm = disturbed <= CALM
    kept = np.flatnonzero(calm) if calm.sum() >= least else np.argsort(disturbed, kind="stable")[:least]
    straight = values_ms[kept] / drift[kept, None]
    median = np.median(straight, axis=0)
    noise = np.median(np.abs(straight - median), axis=0) / median
    return Corrected(median, noise, _half_width(straight) / median, drift, calm, disagreement)


def _ratio(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """How many times the level each round is, [R]."""
    ratios: np.ndarray = np.median(values / level, axis=1)
    return ratios


def _level(values: np.ndarray) -> np.ndarray:
    """What each column [A] takes in the quiet rounds of [R, A], as the product of a factor per round and per column."""
    level = np.median(values, axis=0)
    for _ in range(POLISHES):
        level = np.median(values / _ratio(values, level)[:, None], axis=0)
    quiet: np.ndarray = level * np.quantile(_ratio(values, level), QUIET_QUANTILE, method="lower")
    return quiet


def _half_width(values: np.ndarray) -> np.ndarray:
    """Half the length of the interval of the median of each column, by order statistics: no shape is assumed."""
    count = len(values)
    below = max(int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5)) - 1, 0)
    ordered = np.sort(values, axis=0)
    half: np.ndarray = (ordered[count - 1 - below] - ordered[below]) / 2
    return half
