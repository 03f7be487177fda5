"""Layer normalisation over the channels that each sample uses, in plain batched PyTorch, on any device."""

from __future__ import annotations

from torch import Tensor


def entangled_norm(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """[S, R, E] of x [S, R, E] and masks [S, E].

    As `modnas_fast.supernets.entangled_norm.entangled_norm`, checked there.
    """
    mask = mask[:, None]
    count = mask.sum(-1, keepdim=True)
    centred = (x - (x * mask).sum(-1, keepdim=True) / count) * mask
    variance = centred.square().sum(-1, keepdim=True) / count
    return (centred * (variance + epsilon).rsqrt() * weight + bias) * mask
