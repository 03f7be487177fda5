"""A standalone network of the GPT space: what is trained, measured and deployed, with the official keys of weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: of rotary positions (Su et al. 2021)
ROTARY_BASE = 10_000.0
EPSILON = 1e-5
#: keys and values [B, h, L, d_h] of the tokens seen, by layer
Cache = list[tuple[Tensor, Tensor]]


class Shape(NamedTuple):
    """What one network is: width e, MLP ratio and heads of each layer, and whether linear layers have a bias."""

    width: int
    ratios: tuple[int, ...]
    heads: tuple[int, ...]
    bias: bool


class Attention(nn.Module):
    """Causal attention with rotary positions on the first half of each head's channels.

    One linear makes q, k and v: its outputs are grouped by head, [h, (q, k, v), d_h], so that the first heads of a
    wider layer are a prefix.
    """

    def __init__(self, width: int, heads: int, head_size: int, bias: bool) -> None:
        super().__init__()
        self.heads, self.head_size = heads, head_size
        self.attn = nn.Linear(width, 3 * heads * head_size, bias)
        self.proj = nn.Linear(heads * head_size, width, bias)

    def forward(self, x: Tensor, rotation: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs [B, L, e], and the keys and values of all tokens seen so far."""
        grouped = self.attn(x).unflatten(-1, (self.heads, 3, self.head_size)).transpose(1, 2)  # [B, h, L, 3, d_h]
        q, k, v = grouped.unbind(-2)
        q, k = rotated(q, rotation), rotated(k, rotation)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=_continued(q, k), is_causal=past is None)
        return self.proj(heads.transpose(1, 2).flatten(2)), k, v


class MLP(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, width: int, ratio: int, bias: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(width, ratio * width, bias)
        self.proj = nn.Linear(ratio * width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(F.gelu(self.fc(x)))


class Block(nn.Module):
    """x + attention(norm₁(x)) + MLP(norm₂(x)): the residuals are parallel."""

    def __init__(self, width: int, ratio: int, heads: int, head_size: int, bias: bool) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, EPSILON)
        self.attn = Attention(width, heads, head_size, bias)
        self.norm_2 = nn.LayerNorm(width, EPSILON)
        self.mlp = MLP(width, ratio, bias)

    def forward(self, x: Tensor, rotation: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        attended, k, v = self.attn(self.norm_1(x), rotation, past)
        return x + attended + self.mlp(self.norm_2(x)), k, v


class Transformer(nn.Module):
    """Embedding, layers and the last norm."""

    h: Iterable[Block]

    def __init__(self, vocabulary: int, width: int, layers: Iterable[Block]) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.h = nn.ModuleList(layers)  # type: ignore[assignment]  # a list of modules does not say of which
        self.ln_f = nn.LayerNorm(width, EPSILON)


class GPTNetwork(nn.Module):
    """Token ids [B, L] in, logits [B, L, V] out.

    Args:
        shape: of the network.
        vocabulary: V.
        head_size: d_h.

    The output matrix is the token embedding's. Weights begin as in GPT-2: N(0, 0.02²), biases 0, those that write into
    the residual divided by √(2ℓ).
    """

    def __init__(self, shape: Shape, vocabulary: int, head_size: int) -> None:
        super().__init__()
        self.head_size = head_size
        layers = zip(shape.ratios, shape.heads, strict=True)
        self.transformer = Transformer(
            vocabulary, shape.width, (Block(shape.width, *layer, head_size, shape.bias) for layer in layers)
        )
        self.lm_head = nn.Linear(shape.width, vocabulary, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        initialize(self, len(shape.ratios))

    def forward(self, ids: Tensor) -> Tensor:
        return self._logits(ids, None)[0]

    def _logits(self, ids: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Logits of further tokens, and the cache with theirs; None: nothing was seen."""
        x = self.transformer.wte(ids)
        seen = 0 if cache is None else cache[0][0].shape[2]
        rotation = rotations(seen, ids.shape[1], self.head_size, x)
        longer: Cache = []
        for layer, block in enumerate(self.transformer.h):
            x, k, v = block(x, rotation, None if cache is None else cache[layer])
            longer.append((k, v))
        return self.lm_head(self.transformer.ln_f(x)), longer

    def continued(self, ids: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Logits [B, L, V] of tokens behind those whose keys and values are kept, and the cache with theirs too.

        Args:
            ids: the tokens [B, L].
            cache: of the tokens before; None: there are none.
        """
        return self._logits(ids, cache)

    def made_up_cache(self, count: int, seen: int) -> Cache:
        """Keys and values of `seen` tokens of `count` samples, for measuring: normal numbers, the same in all."""
        generator = torch.Generator().manual_seed(0)

        def drawn(block: Block) -> Tensor:
            one = torch.randn(1, block.attn.heads, seen, self.head_size, generator=generator)
            return one.to(self.lm_head.weight).expand(count, -1, -1, -1).contiguous()

        return [(drawn(block), drawn(block)) for block in self.transformer.h]

    def cache_numbers(self, tokens: int) -> int:
        """Numbers in the keys and values of so many tokens of a sample."""
        return 2 * tokens * self.head_size * sum(block.attn.heads for block in self.transformer.h)

    @torch.no_grad()
    def generate(
        self,
        ids: Tensor,
        count: int,
        *,
        temperature: float = 1.0,
        top: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Token ids [B, L + count]: the prompt and what follows it; keys and values of what was seen are kept.

        Args:
            ids: the prompt [B, L], at least one token.
            count: tokens to draw.
            temperature: logits are divided by it; 0 takes the most probable token.
            top: draw among so many of the most probable tokens; None: among all.
            generator: source of the draws.

        Raises ValueError for an empty prompt, and for a count, a temperature or a `top` out of range.
        """
        if ids.dim() != 2 or not ids.shape[1]:
            raise ValueError(f"ids: wanted a prompt [B, L] of at least one token, got {list(ids.shape)}")
        if count < 0 or temperature < 0 or (top is not None and top < 1):
            raise ValueError(f"count, temperature and top: out of range, got {count}, {temperature}, {top}")
        new, cache = ids, None
        for _ in range(count):
            logits, cache = self._logits(new, cache)
            new = _drawn(logits[:, -1], temperature, top, generator)
            ids = torch.cat([ids, new], dim=1)
        return ids


def _drawn(logits: Tensor, temperature: float, top: int | None, generator: torch.Generator | None) -> Tensor:
    """One token [B, 1] of logits [B, V]."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    if top is not None and top < logits.shape[-1]:
        least = logits.topk(top).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=generator)


def initialize(network: nn.Module, layers: int) -> None:
    """Weights as in GPT-2, in place; see `GPTNetwork`."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2:
            into_residual = name.endswith("proj.weight")
            nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if into_residual else 0.02)


def rotations(seen: int, count: int, head_size: int, like: Tensor) -> Tensor:
    """Cosines and sines [2, L, d_h / 4] of `count` positions behind `seen` others, in the format of `like`."""
    pairs = head_size // 4
    rates = ROTARY_BASE ** (-torch.arange(pairs, dtype=torch.float64, device=like.device) / pairs)
    angles = torch.arange(seen, seen + count, dtype=torch.float64, device=like.device)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()]).to(like.dtype)


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """x [..., L, d_h] with the first half of its channels turned by their positions; pairs are (i, i + d_h / 4)."""
    cos, sin = rotation
    quarter = cos.shape[-1]
    first, second, rest = x.split([quarter, quarter, x.shape[-1] - 2 * quarter], dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def _continued(q: Tensor, k: Tensor) -> Tensor | None:
    """Which tokens each further token sees; None where there are none before, or only one is added."""
    new, all_ = q.shape[2], k.shape[2]
    if new in (1, all_):
        return None
    places = torch.arange(all_, device=q.device)
    return places <= places[all_ - new :, None]
