"""What rounds of measuring tell of networks on one setting, the machine's drift taken out by anchors: numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

#: a round is calm while no sign of a disturbance exceeds this share
CALM = 0.10
#: the rounds with the least drift, that is the quiet machine, are the unit of what is measured first
QUIET_QUANTILE = 0.25
#: where too few rounds are calm, this quantile of all takes the median's place: a pass that nobody disturbed is among
#: the quickest
LOW_QUANTILE = 0.2
#: probability that the interval of a quantile holds it
CONFIDENCE = 0.95
#: alternating medians over rounds and anchors until both are at rest
POLISHES = 4


@dataclass(frozen=True)
class Corrected:
    """Networks of one setting over R rounds: N values, and what speaks for and against them.

    Args:
        latency_ms: medians over the calm rounds of value / drift; where these are too few, low quantiles over all, [N].
        noise: median absolute deviations from them, relative, [N].
        half_width: of the intervals of these medians or quantiles, relative, [N].
        drift: per round, how many times as slow the anchors were as at first, [R].
        calm: which rounds nothing disturbed, [R].
        slowness: how many times as slow as at first the anchors were in common, which is taken out.
        disagreement: how far they are from their first values after that, as a median, relative.
    """

    latency_ms: np.ndarray
    noise: np.ndarray
    half_width: np.ndarray
    drift: np.ndarray
    calm: np.ndarray
    slowness: float
    disagreement: float


def correct(
    values_ms: np.ndarray, anchors: Sequence[int], first_ms: np.ndarray | None, disturbance: np.ndarray, least: int
) -> Corrected:
    """The values of networks as they would be had the machine been as it was at first.

    The drift of a round is the median over the anchors of their value in it over their first value, so that a slow
    phase, which hits networks and anchors alike, cancels. Rounds that were disturbed while they lasted (the anchors
    disagree with each other, or the kernel tells of it) do not count. Where too few are left, some passes of each
    network were hit and others were not: its low quantile over all rounds is set against those of the anchors.

    Args:
        values_ms: one round per row, [R, N].
        anchors: columns of the anchors; without any nothing is corrected.
        first_ms: what the anchors took at first, [A]; None: these rounds are the first, their quietest are the unit.
        disturbance: per round a share of the time, from elsewhere, [R].
        least: calm rounds that are enough.

    >>> slow_then_quiet = np.array([[2.0, 4.0], [2.0, 4.0], [1.0, 2.0]])
    >>> correct(slow_then_quiet, [0], np.array([1.0]), np.zeros(3), 3).latency_ms
    array([1., 2.])
    """
    of_anchors = values_ms[:, list(anchors)]
    own = _level(of_anchors) if len(anchors) else np.ones(0)
    first = own if first_ms is None else first_ms
    drift = _ratio(of_anchors, first)
    spread = np.abs(of_anchors / (own * _ratio(of_anchors, own)[:, None]) - 1)
    calm = np.maximum(_median(spread), disturbance) <= CALM
    if calm.sum() >= least:
        shift, quantile = own / first, 0.5
        slowness = np.median(shift) if len(anchors) else 1.0
        straight = values_ms[calm] / drift[calm, None]
    else:
        low, quantile = np.quantile(of_anchors, LOW_QUANTILE, axis=0), LOW_QUANTILE
        shift = low / (low if first_ms is None else first)
        slowness = np.median(shift) if len(anchors) else 1.0
        straight = values_ms / slowness
    latency_ms = np.quantile(straight, quantile, axis=0)
    noise = np.median(np.abs(straight - latency_ms), axis=0) / latency_ms
    half_width = _half_width(straight, quantile) / latency_ms
    disagreement = np.median(np.abs(shift / slowness - 1)) if len(anchors) else 0.0
    return Corrected(latency_ms, noise, half_width, drift, calm, float(slowness), float(disagreement))


def _median(values: np.ndarray) -> np.ndarray:
    """Medians of the rows of [R, A]; zeros where there is no anchor."""
    medians: np.ndarray = np.median(values, axis=1) if values.size else np.zeros(len(values))
    return medians


def _ratio(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """How many times the level each round is, [R]; 1 where there is no anchor."""
    return _median(values / level) if values.size else np.ones(len(values))


def _level(values: np.ndarray) -> np.ndarray:
    """What each column [A] takes in the quiet rounds of [R, A], as the product of a factor per round and per column."""
    level = np.median(values, axis=0)
    for _ in range(POLISHES):
        level = np.median(values / _ratio(values, level)[:, None], axis=0)
    quiet: np.ndarray = level * np.quantile(_ratio(values, level), QUIET_QUANTILE, method="lower")
    return quiet


def _half_width(values: np.ndarray, quantile: float) -> np.ndarray:
    """Half the length of the interval of the quantile of each column, by order statistics: no shape is assumed."""
    count = len(values)
    binomial = bdtr(np.arange(count + 1), count, quantile)
    below, above = (int(np.searchsorted(binomial, (1 + side * CONFIDENCE) / 2)) for side in (-1, 1))
    ordered = np.sort(values, axis=0)
    half: np.ndarray = (ordered[min(above, count - 1)] - ordered[max(below - 1, 0)]) / 2
    return half
