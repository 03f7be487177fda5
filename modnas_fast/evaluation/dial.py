"""Whether preferences can be trusted as a dial: more weight is no worse, and no part of the front is out of reach.

A hypernetwork promises neither: it was trained on draws of preferences, and a scalarization may pass over networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: how far from a network of the exact front an answer stands for it, in shares of every objective's range
NEAR = 0.01
#: difference of weights down to which proportions count as the same: rays keep off the corners by less
SAME_PROPORTIONS = 1e-3


def monotone_share(preferences: Sequence[Sequence[float]], values: Sequence[Sequence[float]]) -> float | None:
    """How often more weight on an objective made it no worse, 0 to 1; None where there is nothing to compare.

    Counted are all pairs of preferences [R, M] of which one gives more weight to an objective and less to the others,
    in the same proportions: with two objectives all pairs, for each of the two. The best networks for weighted sums or
    weighted maxima would come to 1.

    Args:
        preferences: one per answer, on the simplex.
        values: objectives [R, M] of the answers.

    >>> monotone_share([(0.9, 0.1), (0.5, 0.5), (0.1, 0.9)], [(5.0, 3.0), (7.0, 1.0), (6.0, 2.0)])
    0.6666666666666666
    """
    r, found = np.asarray(preferences, dtype=float), np.asarray(values, dtype=float)
    if not len(r):
        return None
    compared = []
    for objective in range(r.shape[1]):
        others = np.delete(r, objective, axis=1)
        others = others / np.maximum(others.sum(axis=1, keepdims=True), 1e-12)
        alike = np.abs(others[:, None] - others[None]).max(axis=-1) < SAME_PROPORTIONS
        more = r[:, None, objective] > r[None, :, objective]
        compared.append((found[:, None, objective] <= found[None, :, objective])[alike & more])
    no_worse = np.concatenate(compared)
    return float(no_worse.mean()) if len(no_worse) else None


def covered_share(front: np.ndarray, answers: np.ndarray, near: float = NEAR) -> float:
    """For which share of a front's networks an answer is at most `near` worse in every objective.

    Args:
        front: normalised objectives [n, M], n at least 1.
        answers: those of answers, [k, M].
        near: in the same units.

    >>> covered_share(np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]), np.array([[0.0, 1.0], [0.505, 0.5]]))
    0.6666666666666666
    """
    if not len(answers):
        return 0.0
    reached = np.all(answers[None] <= front[:, None] + near, axis=-1)  # [n, k]
    return float(np.mean(np.any(reached, axis=1)))
