"""The classic min-norm loop of multiple gradient descent (Sener and Koltun 2018) in an own rewrite."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

#: the classic loop has no limit; this one only ends runs that would not end
MOST_STEPS = 100_000
#: tensors per device in the classic code's whole step: 50 tables and their keys
PARAMETERS = 51


def _line(vv: float | Tensor, vu: float | Tensor, uu: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    """Share of v at the shortest point between v and u, kept off the ends as the classic code does, and its cost."""
    if vu >= vv:
        return 0.999, vv
    if vu >= uu:
        return 0.001, uu
    share = (uu - vu) / (vv + uu - 2 * vu)
    return share, uu + share * (vu - uu)


def _frank_wolfe(products: list[list[float]] | list[list[Tensor]]) -> np.ndarray:
    """Best pair, then Frank-Wolfe until the weights change by less than 1e-5; the last step is discarded."""
    size = len(products)
    if size == 1:
        return np.ones(1)
    least, pair, share = 1e8, (0, 1), 0.5
    for i, j in combinations(range(size), 2):
        of_first, cost = _line(products[i][i], products[i][j], products[j][j])
        if cost < least:
            least, pair, share = cost, (i, j), of_first
    weights = np.zeros(size)
    weights[pair[0]], weights[pair[1]] = share, 1 - share
    matrix = np.array([[float(product) for product in row] for row in products])
    for _ in range(MOST_STEPS if size > 2 else 0):
        towards = int(np.argmin(matrix @ weights))
        kept, _ = _line(
            float(weights @ matrix @ weights), float(weights @ matrix[:, towards]), matrix[towards, towards]
        )
        moved = kept * weights
        moved[towards] += 1 - kept
        if np.abs(moved - weights).sum() < 1e-5:
            break
        weights = moved
    return weights


def classic_weights(gramian: Tensor) -> Tensor:
    """The classic Frank-Wolfe from a Gramian that is there already."""
    return torch.from_numpy(_frank_wolfe(gramian.double().tolist()))


def classic_combination(gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Σ_t γ_t g_t per parameter, of gradients given per device and parameter, as the classic code takes it.

    The inner products are taken pair by pair and parameter by parameter as the sum of a product, each brought to the
    host, where they stay tensors during the search for the best pair; then the loop, then the sum.
    """
    count = len(gradients)
    products: list[list[Tensor]] = [[torch.zeros(())] * count for _ in range(count)]
    for i in range(count):
        for j in range(i, count):
            total = torch.zeros(())
            for ours, theirs in zip(gradients[i], gradients[j], strict=True):
                total += torch.mul(ours, theirs).sum().cpu()
            products[i][j] = products[j][i] = total
    weights = _frank_wolfe(products)
    sums = []
    for parts in zip(*gradients, strict=True):
        update = torch.zeros_like(parts[0])
        for part, weight in zip(parts, weights, strict=True):
            update += float(weight) * part
        sums.append(update)
    return sums


def classic_step(jacobian: Tensor) -> Tensor:
    """The whole step on a Jacobian [T, P], each row of which counts as PARAMETERS tensors of equal size."""
    return torch.cat(classic_combination([row.chunk(PARAMETERS) for row in jacobian]))
