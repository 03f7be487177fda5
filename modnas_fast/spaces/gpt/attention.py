"""Causal attention on the CPU and its gradient, without autograd.

q, k and v come and go in one tensor [B, L, h, 3, d_h], as one linear layer makes them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_aten = torch.ops.aten


def forward(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Heads [B, L, h, d_h], and of the softmax what `backward` needs."""
    q, k, v = qkv.transpose(1, 2).unbind(-2)  # [B, h, L, d_h] each
    heads, log_sums = _aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
    return heads.transpose(1, 2).contiguous(), log_sums


def backward(dheads: Tensor, heads: Tensor, qkv: Tensor, log_sums: Tensor) -> Tensor:
    """The gradient by q, k and v, from that by the heads."""
    q, k, v = qkv.transpose(1, 2).unbind(-2)
    dheads, heads = dheads.transpose(1, 2), heads.transpose(1, 2)
    parts = _aten._scaled_dot_product_flash_attention_for_cpu_backward(dheads, q, k, v, heads, log_sums, 0.0, True)
    return torch.stack([part.transpose(1, 2) for part in parts], dim=-2)
