"""The keys and values that a GPT keeps of the tokens it has seen: their memory, as a formula in the choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modnas_fast.spaces.counting import FLOAT_BYTES, MEGABYTE

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace


def cache_memory(space: GPTSpace, onehot: Tensor, tokens: int) -> Tensor:
    """MB of keys and values of `tokens` tokens in float32, float64 [...], of one-hots or relaxed samples [..., N].

    2 · tokens · d_h · (heads of all layers) numbers; linear in every choice.
    """
    scale, layers = space.scale, space.scale.layers
    groups = onehot.double().split(space.group_sizes, dim=-1)
    options = torch.tensor(scale.heads, dtype=torch.float64, device=onehot.device)
    heads = torch.stack(groups[2 + layers : -1], dim=-2) @ options  # [..., L]
    counted = (space.present(groups[1]) * heads).sum(-1)
    return FLOAT_BYTES * 2 * tokens * scale.head_size * counted / MEGABYTE
