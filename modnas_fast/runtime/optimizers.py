"""Optimisers of weights, and schedules of their learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


def cosine_decay(first: float, last: float, share: float) -> float:
    """From `first` at share 0 to `last` at share 1 along half a cosine.

    >>> cosine_decay(1.0, 0.0, 0.5)
    0.5
    """
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * share))


def warmed_cosine(highest: float, last: float, warmup: float, share: float) -> float:
    """From 0 to `highest` along a line while the share is below `warmup`, then by cosine to `last` at share 1.

    >>> [round(warmed_cosine(1.0, 0.0, 0.2, share), 6) for share in (0.0, 0.1, 0.2, 0.6)]
    [0.0, 0.5, 1.0, 0.5]
    """
    if share < warmup:
        return highest * share / warmup
    return cosine_decay(highest, last, (share - warmup) / (1 - warmup))


def make_optimizer(
    kind: str,
    parameters: Iterable[nn.Parameter],
    rate: float,
    weight_decay: float,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """`sgd` with momentum, or `adamw` with betas (0.9, 0.95), as transformers are trained."""
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=weight_decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
