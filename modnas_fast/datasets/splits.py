"""Stratified subsets and splits: every class in proportion, fixed by a generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def stratified_subset(labels: Tensor, count: int, generator: torch.Generator, *, least: int = 1) -> Tensor:
    """Indices [count] in rising order, each class in proportion with at least `least` of its images.

    `labels` int64 [n] of 0..K−1. Raises ValueError where `count` is above n or below `least` times the number
    of classes, or a class has fewer than `least`.

    >>> labels = torch.tensor([0] * 8 + [1] * 4)
    >>> labels[stratified_subset(labels, 6, torch.Generator().manual_seed(0))]
    tensor([0, 0, 0, 0, 1, 1])
    """
    groups = _by_class(labels, generator)
    sizes = [len(group) for group in groups]
    if count > len(labels) or count < least * len(groups) or min(sizes) < least:
        raise ValueError(f"count: wanted {least} to {len(labels)} with {least} per class, got {count}")
    quotas = _shares(sizes, count, least)
    return torch.cat([group[:quota] for group, quota in zip(groups, quotas, strict=True)]).sort().values


def stratified_split(labels: Tensor, fractions: Sequence[float], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Disjoint parts of 0..n−1 that cover all, one per fraction, each class divided alike; indices rise.

    Every part gets at least one image of each class where a class has as many images as there are parts.
    `fractions` ≥ 0 are relative: (2, 1, 1) is (½, ¼, ¼). A fraction of 0 gives an empty part.

    >>> parts = stratified_split(torch.tensor([0] * 4 + [1] * 4), (2, 1, 1), torch.Generator().manual_seed(0))
    >>> [len(part) for part in parts]
    [4, 2, 2]
    """
    used = [position for position, fraction in enumerate(fractions) if fraction > 0]
    parts: list[list[Tensor]] = [[] for _ in fractions]
    for group in _by_class(labels, generator):
        least = 1 if len(group) >= len(used) else 0
        sizes = _shares([fractions[position] for position in used], len(group), least)
        for position, piece in zip(used, group.split(sizes), strict=True):
            parts[position].append(piece)
    empty = torch.empty(0, dtype=torch.int64)
    return tuple(torch.cat(pieces).sort().values if pieces else empty for pieces in parts)


def _by_class(labels: Tensor, generator: torch.Generator) -> list[Tensor]:
    """The shuffled indices of each class that occurs, in order of the class."""
    order = torch.randperm(len(labels), generator=generator)
    shuffled = labels[order]
    return [order[shuffled == label] for label in labels.unique(sorted=True)]


def _shares(weights: Sequence[float], total: int, least: int) -> list[int]:
    """`total` in proportion to `weights` by largest remainders, none below `least`; ties to the first."""
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [max(least, int(share)) for share in exact]
    while sum(shares) != total:
        step = 1 if sum(shares) < total else -1
        open_ = [i for i, share in enumerate(shares) if step > 0 or share > least]
        shares[max(open_, key=lambda i: (step * (exact[i] - shares[i]), -i))] += step
    return shares
