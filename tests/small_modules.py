"""Small networks of one's own with elastic layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modnas_fast import elastic

CLASSES, VOCABULARY, HEADS = 5, 20, 3


def small_cnn() -> nn.Module:
    """Classifies images [B, 3, H, W]; 96 networks."""
    stem, hidden = elastic.width("stem", 4, 8), elastic.width("hidden", 6, 8, 12)

    def block() -> nn.Module:
        return nn.Sequential(elastic.Conv2d(stem, stem, 3, padding=1, bias=False), elastic.BatchNorm2d(stem), nn.ReLU())

    return nn.Sequential(
        elastic.Conv2d(3, stem, 3, padding=1),
        elastic.BatchNorm2d(stem),
        elastic.Sequential(*(block() for _ in range(4)), name="blocks", depth=(1, 2, 3, 4)),
        elastic.Choice("activation", relu=nn.ReLU(), gelu=nn.GELU()),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        elastic.Linear(stem * 4, hidden),
        elastic.Choice("last", silu=nn.SiLU(), tanh=nn.Tanh()),
        elastic.Linear(hidden, CLASSES),
    )


class Block(nn.Module):
    """Attention to what is before a token, and two linear layers."""

    def __init__(self, size: elastic.Width, inner: elastic.Width) -> None:
        super().__init__()
        self.attention = elastic.MultiheadAttention(size, HEADS, batch_first=True)
        self.before, self.between = elastic.LayerNorm(size), elastic.LayerNorm(size)
        self.mlp = nn.Sequential(elastic.Linear(size, inner), nn.GELU(), elastic.Linear(inner, size))

    def forward(self, x: Tensor) -> Tensor:
        past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        y = self.before(x)
        x = x + self.attention(y, y, y, attn_mask=past, need_weights=False)[0]
        return x + self.mlp(self.between(x))


def small_transformer() -> nn.Module:
    """Logits [B, L, 20] of token ids [B, L]; 27 networks."""
    size, inner = elastic.width("size", 8, 16, 24), elastic.width("inner", 8, 16, 24)
    blocks = elastic.Sequential(*(Block(size, inner) for _ in range(3)), name="blocks", depth=(1, 2, 3))
    return nn.Sequential(elastic.Embedding(VOCABULARY, size), blocks, elastic.Linear(size, VOCABULARY))
