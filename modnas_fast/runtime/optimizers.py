"""Schedules of learning rates."""

from __future__ import annotations

import math

import torch


def cosine_decay(first: float, last: float, share: float) -> float:
    """From `first` at share 0 to `last` at share 1 along half a cosine.

    >>> cosine_decay(1.0, 0.0, 0.5)
    0.5
    """
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * share))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
