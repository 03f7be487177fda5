"""Losses that a GradScaler scaled: what they weigh without the scale, and overflows that the scaler must see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from modnas_fast.mgd.min_norm import Method, MinNorm, Nonfinite, Status, Zeros
from modnas_fast.mgd.weighting import MGDWeights, Normalize, weigh

#: nodes that hand numbers on as they are
_REARRANGING = ("Stack", "Unbind", "Select", "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze")


def common_scale(losses: Sequence[Tensor]) -> Tensor | None:
    """The one tensor that all losses were last multiplied by, as `torch.amp.GradScaler.scale` does; else None.

    That is a float32 without axes, the same memory for every loss. Factors that are Python numbers do not count.
    """
    scale = None
    for node in _origins([loss.grad_fn for loss in losses]):
        if node is None or node.name() != "MulBackward0" or node.next_functions[1][0] is not None:
            return None
        factor: Tensor = node._saved_other  # type: ignore[attr-defined]
        if factor.ndim or factor.dtype != torch.float32:
            return None
        if scale is not None and scale.data_ptr() != factor.data_ptr():
            return None
        scale = factor
    return scale


def weigh_scaled(
    gram: Tensor,
    losses: Tensor,
    scale: Tensor,
    normalize: Normalize,
    method: Method,
    nonfinite: Nonfinite,
    zeros: Zeros,
) -> MGDWeights:
    """Weights of scaled gradients, such that their update is `scale` times that of the losses without it.

    A loss that is NaN, or infinite with a gradient of zeros, is no overflow but a bad loss: `nonfinite` says what is done.
    Any other gradient that is not finite is an overflow: all weights are NaN, so that `.grad` tells the scaler.

    Args:
        gram: [T, T], of the scaled gradients, float64.
        losses: scaled, [T], float64.
    """
    factor = scale.detach().to(gram)
    gram, losses = gram / factor / factor, losses / factor
    squares = gram.diagonal()
    bad = losses.isnan() | (losses.isinf() & (squares == 0))
    overflow = (~squares.isfinite() & ~bad).any() | bad.all()
    if normalize in ("loss", "loss+"):
        overflow = overflow | (losses.isinf() & ~bad).any()
    sound = torch.where(overflow, torch.eye(len(gram)).to(gram), gram)
    finite = torch.where(overflow & ~bad, 1.0, torch.where(losses.isinf() & ~bad, 1.0, losses))
    found = weigh(sound, normalize, finite, method, nonfinite, zeros)
    factors, weights, normalizers = (torch.where(overflow, torch.nan, part) for part in found[:3])
    values = [torch.where(overflow, torch.nan, part) for part in found.point[:3]]
    status = torch.where(overflow, int(Status.NONFINITE), found.point.status).to(torch.int8)
    return MGDWeights(factors, weights, normalizers, MinNorm(*values, found.point.iterations, status))


def _origins(nodes: Sequence[Node | None]) -> Iterator[Node | None]:
    """Where the numbers of the nodes were made."""
    for node in nodes:
        if node is not None and node.name().split("Backward")[0] in _REARRANGING:
            yield from _origins([following for following, _ in node.next_functions])
        else:
            yield node
