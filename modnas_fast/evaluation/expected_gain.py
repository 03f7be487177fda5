"""Expected hypervolume gain where costs are known and errors are believed: two objectives, any number of devices."""

from __future__ import annotations

import torch
from torch import Tensor

#: of hypervolumes: so much worse than the worst network known, in shares of the range
MARGIN = 0.1


def expected_gains(mean: Tensor, deviation: Tensor, costs: Tensor, errors: Tensor, known_costs: Tensor) -> Tensor:
    """By how much each of n networks is expected to raise the hypervolume of each of T devices, float64 [n, T].

    The gain of an error x at a cost c is the area between c and the reference below the front of known networks and
    above x; its expectation under a log-normal x is a sum over the front's steps (Emmerich et al. 2006, where one
    objective is certain). Areas are in shares of the ranges of errors, and of costs on the device.

    Args:
        mean, deviation: of ln(error), [n].
        costs: [n, T].
        errors: of the known networks, positive, [k].
        known_costs: theirs, [k, T].
    """
    columns = zip(costs.double().unbind(1), known_costs.double().unbind(1))
    return torch.stack([_gain(mean.double(), deviation.double(), c, errors.double(), k) for c, k in columns], dim=1)


def _gain(mean: Tensor, deviation: Tensor, cost: Tensor, errors: Tensor, known: Tensor) -> Tensor:
    """Of one device, [n]."""
    low, high = torch.minimum(cost.min(), known.min()), torch.maximum(cost.max(), known.max())
    width, height = (high - low).clamp(min=1e-12), (errors.max() - errors.min()).clamp(min=1e-12)
    order = known.argsort(stable=True)
    # from each known cost on, the least error so far; before the first, the reference
    begins = torch.cat([low[None] - MARGIN * width, known[order]])
    best = torch.cat([(errors.max() + MARGIN * height)[None], errors[order].cummin(0).values])
    ends = torch.cat([begins[1:], (high + MARGIN * width)[None]])
    lengths = (ends - torch.maximum(begins, cost[:, None])).clamp(min=0)  # [n, k + 1]
    spread = deviation.clamp(min=1e-9)[:, None]
    above = (best.log() - mean[:, None]) / spread
    normal = torch.special.ndtr
    expected = best * normal(above) - (mean[:, None] + spread.square() / 2).exp() * normal(above - spread)
    return (lengths * expected.clamp(min=0)).sum(1) / (width * height)
