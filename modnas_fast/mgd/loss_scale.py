"""Losses that a GradScaler scaled: what they weigh without the scale, and overflows that the scaler must see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from modnas_fast.mgd.min_norm import Method, MinNorm, Nonfinite, Status, Zeros
from modnas_fast.mgd.weighting import MGDWeights, Normalize, weigh

#: nodes whose result is proportional to what comes in
_LINEAR = {
    *("Stack", "Unbind", "Select", "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze"),
    *("Add", "Sub", "Neg", "Sum", "Mean"),
}


def common_scale(losses: Sequence[Tensor]) -> Tensor | None:
    """The one tensor that all losses were multiplied by, as `torch.amp.GradScaler.scale` does; else None.

    That is a float32 without axes, the same memory for every loss. Sums, means, constants added, and products and
    quotients with Python numbers may have followed.
    """
    ends = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    if len(ends) < len(losses):  # a parameter itself
        return None
    scale: Tensor | None = None
    for node in _origins(ends):
        factor = _factor(node, "Mul")
        if factor is None or factor.dtype != torch.float32:
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

    A loss that is NaN, or infinite with a gradient of zeros, is no overflow but a bad loss, left to `nonfinite`. Any
    other gradient that is not finite is an overflow: all weights are NaN, so that `.grad` tells the scaler.

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
    convex, squared_norm, gap = (torch.where(overflow, torch.nan, part) for part in found.point[:3])
    status = torch.where(overflow, int(Status.NONFINITE), found.point.status).to(torch.int8)
    point = MinNorm(convex, squared_norm, gap, found.point.iterations, status)
    return MGDWeights(factors, weights, normalizers, point)


def _origins(nodes: Sequence[Node]) -> Iterator[Node]:
    """The nodes that the losses are linear in."""
    waiting, seen = list(nodes), set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        number = _factor(node, "Mul", "Div")
        of_number = number is not None and number.dtype in (torch.float64, torch.int64)
        if of_number or _kind(node) in _LINEAR:
            waiting.extend(following for following, _ in node.next_functions if following is not None)
        else:
            yield node


def _factor(node: Node, *kinds: str) -> Tensor | None:
    """The constant without axes that a product or quotient has at its right, if it is one."""
    if _kind(node) not in kinds or node.next_functions[1][0] is not None:
        return None
    factor: Tensor = node._saved_other  # type: ignore[attr-defined]
    return None if factor.ndim else factor


def _kind(node: Node) -> str:
    return node.name().partition("Backward")[0]
