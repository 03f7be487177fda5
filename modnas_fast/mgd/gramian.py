"""The Gramian of per-device gradients: all that the min-norm solver needs of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gramian(gradients: Sequence[Tensor]) -> Tensor:
    """G[s, t] = ⟨g_s, g_t⟩ summed over parameters: float64 [T, T].

    Args:
        gradients: one tensor [T, ...] per parameter, the leading axis running over devices.

    Sums are accumulated in float64; the tensors are read once and not concatenated.

    >>> gramian([torch.tensor([[3.0], [0.0]]), torch.tensor([[4.0], [1.0]])]).tolist()
    [[25.0, 4.0], [4.0, 1.0]]
    """
    if not gradients:
        raise ValueError("gradients: wanted at least one tensor [T, ...], got none")
    devices = len(gradients[0])
    if any(len(gradient) != devices for gradient in gradients):
        raise ValueError(f"gradients: leading axes differ: {[len(gradient) for gradient in gradients]}")
    total = torch.zeros(devices, devices, dtype=torch.float64, device=gradients[0].device)
    for gradient in gradients:
        rows = gradient.reshape(devices, -1).double()  # a scalar parameter's is [T]
        total.addmm_(rows, rows.T)
    return total
