"""Depth-wise convolution, batch normalisation and activation of one network, in plain PyTorch, on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: what stands behind the normalisation
ACTIVATIONS = {None: lambda x: x, "relu": F.relu, "hswish": F.hardswish}


def elastic_depthwise(
    x: Tensor,
    taps: Tensor,
    stride: int,
    scale: Tensor,
    shift: Tensor,
    activation: str | None,
    eps: float,
    statistics: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `norm_activation`, of the convolution of x [B, m, H, W] with taps [m, k, k], zeros around it."""
    side = taps.shape[-1]
    found = F.conv2d(x, taps[:, None], stride=stride, padding=side // 2, groups=len(taps))
    return norm_activation(found, scale, shift, activation, eps, statistics, None)


def norm_activation(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    activation: str | None,
    eps: float,
    statistics: tuple[Tensor, Tensor] | None,
    residual: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """y in the shape of x [B, C, H, W], and the mean and variance [C] that it was normalised with.

    As `modnas_fast.supernets.norm_activation.norm_activation`, checked there.
    """
    if statistics is None:
        variance, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0)
        y = F.batch_norm(x, None, None, scale, shift, training=True, eps=eps)
    else:
        mean, variance = statistics
        y = F.batch_norm(x, mean, variance, scale, shift, training=False, eps=eps)
    y = ACTIVATIONS[activation](y)
    return y if residual is None else y + residual, mean, variance
