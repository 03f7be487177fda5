"""The linear layer with shared, sliced weights in plain batched PyTorch, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Part = Tensor | None  # int widths [T], a float mask [T, size], or None for all


def entangled_linear(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Part, outputs: Part) -> Tensor:
    """(((x_t · m_in,t) Wᵀ) + b) · m_out,t: [T, R, N] of x [S, R, K] with S = T or 1.

    As `modnas_fast.supernets.entangled_linear.entangled_linear`, checked there.
    """
    count = next((len(part) for part in (inputs, outputs) if part is not None), len(x))
    m_in = mask_of(inputs, count, weight.shape[1], x)[:, None]  # [T, 1, K]
    m_out = mask_of(outputs, count, weight.shape[0], x)[:, None]  # [T, 1, N]
    left_out = (m_in == 0) | (m_out.mT == 0)  # [T, N, K]
    y: Tensor = _Scaled.apply(x, m_in) @ _counted_apart(weight, left_out).mT
    if bias is not None:
        y = y + _counted_apart(bias, m_out == 0)
    scaled: Tensor = _Scaled.apply(y, m_out)
    return scaled


def mask_of(part: Part, count: int, size: int, like: Tensor) -> Tensor:
    """What devices use as factors [T, size], differentiable where `part` is."""
    if part is None:
        return torch.ones(count, size, dtype=like.dtype, device=like.device)
    if part.is_floating_point():
        return part
    return (torch.arange(size, device=like.device) < part[:, None]).to(like.dtype)


def counted(values: Tensor, left_out: Tensor) -> Tensor:
    """The values, with 0 for what is left out and not finite."""
    return torch.where(left_out & ~values.isfinite(), 0, values)


def _counted_apart(values: Tensor, left_out: Tensor) -> Tensor:
    """Values per device. Those left out get no gradient, but a mask's gradient sees them where they are finite."""
    return torch.where(left_out, counted(values, left_out).detach(), values)


class _Scaled(torch.autograd.Function):
    """values · mask, where 0 · NaN = 0; the mask's gradient is the true one where it is 0, too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask != 0, values * mask, 0).to(values.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        values, mask = ctx.saved_tensors
        left_out = mask == 0
        of_values = of_mask = None
        if ctx.needs_input_grad[0]:
            of_values = torch.where(left_out, 0, gradient * mask).to(values.dtype).sum_to_size(values.shape)
        if ctx.needs_input_grad[1]:
            wide = counted(gradient, left_out).to(mask.dtype) * counted(values, left_out)
            of_mask = wide.sum_to_size(mask.shape).to(mask.dtype)
        return of_values, of_mask
