"""The one-shot network of a GPT space: the weights of the largest network, of which each network uses a prefix.

Widths, heads, MLP ratios and depth of a sample are masks on the shared layers (entangled by prefix, as published), so
that a sample may be soft: a mixture of networks, differentiable in its shares (Sukthanker et al. 2023). What a network
does not use is exactly 0 and reaches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.gpt.network import EPSILON, Block, Shape, Transformer, initialize, rotated, rotations
from modnas_fast.supernets.entangled_linear import entangled_linear
from modnas_fast.supernets.supernet import Supernet

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace


class Masks(NamedTuple):
    """Of S samples, which channels they use; 0 or 1 for one-hots."""

    #: of the embedding, [S, E]
    width: Tensor
    #: of each layer, whether it is there, [S, L]
    present: Tensor
    #: of each layer's MLP, [S, L, R·E]
    hidden: Tensor
    #: of each layer's heads, [S, L, H]
    heads: Tensor
    #: whether linear layers have a bias, [S]
    bias: Tensor


class GPTSupernet(Supernet):
    """Shared weights w of all networks of a GPT space; keys of the weights are the official ones.

    Args:
        space: whose networks share them.
        vocabulary: V.

    Called with token ids [B, L], returns logits [S, B, L, V] of samples [S, N].
    """

    def __init__(self, space: GPTSpace, vocabulary: int) -> None:
        super().__init__()
        self._space = space
        scale = space.scale
        width, ratio, heads = scale.widths[-1], scale.ratios[-1], scale.heads[-1]
        layers = (Block(width, ratio, heads, scale.head_size, bias=True) for _ in range(scale.layers))
        self.transformer = Transformer(vocabulary, width, layers)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        initialize(self, scale.layers)

    def embed(self, x: Tensor) -> Tensor:
        """The widest embedding [B, L, E] of token ids [B, L]."""
        embedded: Tensor = self.transformer.wte(x)
        return embedded

    def predict_from(self, state: Tensor, onehot: Tensor, *, hard: bool | None = None, **_: Any) -> Tensor:
        """Logits [S, B, L, V] of samples [S, N], behind `embed`.

        Hard samples without a gradient of their own are computed with prefixes of the weights, one after the other.
        """
        if hard is None:
            hard = onehot.device.type == "cpu" and bool(((onehot == 0) | (onehot == 1)).all())
        if hard and not (onehot.requires_grad and torch.is_grad_enabled()):
            shapes = [self._space.shape(row) for row in self._space.indices(onehot.detach().cpu()).tolist()]
            return torch.stack([self._network(state, shape) for shape in shapes])
        return self._mixture(state, onehot)

    def _network(self, state: Tensor, shape: Shape) -> Tensor:
        """Logits [B, L, V] of one network."""
        size, width = self._space.scale.head_size, shape.width
        rotation = rotations(0, state.shape[1], size, state)
        x = state[..., :width]
        for block, ratio, heads in zip(self.transformer.h, shape.ratios, shape.heads):
            fused = _prefix(block.attn.attn, _prefix_norm(block.norm_1, x), 3 * heads * size, shape.bias)
            q, k, v = fused.unflatten(-1, (heads, 3, size)).transpose(1, 2).unbind(-2)  # [B, h, L, d_h] each
            attended = F.scaled_dot_product_attention(rotated(q, rotation), rotated(k, rotation), v, is_causal=True)
            joined = _prefix(block.attn.proj, attended.transpose(1, 2).flatten(2), width, shape.bias)
            inner = F.gelu(_prefix(block.mlp.fc, _prefix_norm(block.norm_2, x), ratio * width, shape.bias))
            x = x + joined + _prefix(block.mlp.proj, inner, width, shape.bias)
        x = _prefix_norm(self.transformer.ln_f, x)
        return F.linear(x, self.lm_head.weight[:, :width])

    def _mixture(self, state: Tensor, onehot: Tensor) -> Tensor:
        """Logits [S, B, L, V] of samples that may be soft, differentiable in them."""
        masks = self._masks(onehot.to(state))
        rotation = rotations(0, state.shape[1], self._space.scale.head_size, state)
        x = state[None] * masks.width[:, None, None]  # [S, B, L, E]
        for layer, block in enumerate(self.transformer.h):
            here = masks.present[:, layer, None, None, None]
            added = self._attention(block, x, layer, masks, rotation) + self._mlp(block, x, layer, masks)
            x = x + here * added
        x = _norm(self.transformer.ln_f, x, masks.width)
        return entangled_linear(x, self.lm_head.weight, inputs=masks.width)

    def _attention(self, block: Block, x: Tensor, layer: int, masks: Masks, rotation: Tensor) -> Tensor:
        size, heads = self._space.scale.head_size, masks.heads[:, layer]
        rows = heads.repeat_interleave(3 * size, dim=-1)
        normed = _norm(block.norm_1, x, masks.width)
        fused = _linear(block.attn.attn, normed, masks.width, rows, masks.bias)
        grouped = fused.unflatten(-1, (heads.shape[1], 3, size)).transpose(2, 3)  # [S, B, H, L, 3, d_h]
        q, k, v = grouped.unbind(-2)
        attended = F.scaled_dot_product_attention(rotated(q, rotation), rotated(k, rotation), v, is_causal=True)
        channels = heads.repeat_interleave(size, dim=-1)
        return _linear(block.attn.proj, attended.transpose(2, 3).flatten(3), channels, masks.width, masks.bias)

    def _mlp(self, block: Block, x: Tensor, layer: int, masks: Masks) -> Tensor:
        hidden = masks.hidden[:, layer]
        inner = F.gelu(_linear(block.mlp.fc, _norm(block.norm_2, x, masks.width), masks.width, hidden, masks.bias))
        return _linear(block.mlp.proj, inner, hidden, masks.width, masks.bias)

    def _masks(self, onehot: Tensor) -> Masks:
        """What samples [S, N] use, differentiable in them."""
        scale, space = self._space.scale, self._space
        layers = scale.layers
        groups = onehot.split(space.group_sizes, dim=-1)
        width, depth, bias = groups[0], groups[1], groups[-1][:, 0]
        ratios, heads = torch.stack(groups[2 : 2 + layers], dim=1), torch.stack(groups[2 + layers : -1], dim=1)
        widths = torch.tensor(scale.widths, device=onehot.device)
        hidden_sizes = torch.tensor(scale.ratios, device=onehot.device)[:, None] * widths  # [R, W]
        used = (torch.arange(scale.ratios[-1] * scale.widths[-1], device=onehot.device) < hidden_sizes[..., None]).to(
            onehot
        )
        return Masks(
            width @ _prefixes(scale.widths, onehot),
            space.present(depth),
            torch.einsum("slr,sw,rwu->slu", ratios, width, used),
            heads @ _prefixes(scale.heads, onehot),
            bias,
        )


def _prefix(layer: nn.Linear, x: Tensor, outputs: int, bias: bool) -> Tensor:
    """The first outputs of a shared linear layer, of its first inputs x [..., inputs]."""
    return F.linear(x, layer.weight[:outputs, : x.shape[-1]], layer.bias[:outputs] if bias else None)


def _prefix_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    width = x.shape[-1]
    return F.layer_norm(x, (width,), layer.weight[:width], layer.bias[:width], EPSILON)


def _prefixes(sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """[options, largest]: 1 where a channel is among the first of each size."""
    counts = torch.tensor(sizes, device=like.device)
    return (torch.arange(sizes[-1], device=like.device) < counts[:, None]).to(like)


def _linear(layer: nn.Linear, x: Tensor, inputs: Tensor, outputs: Tensor, bias: Tensor) -> Tensor:
    """A shared linear layer of x [S, B, L, inputs]: [S, B, L, outputs], with its bias in each sample's share [S]."""
    y = entangled_linear(x, layer.weight, inputs=inputs, outputs=outputs)
    return y + (bias[:, None] * outputs * layer.bias)[:, None, None]


def _norm(layer: nn.LayerNorm, x: Tensor, mask: Tensor) -> Tensor:
    """Layer normalisation over the channels in use: x [S, B, L, E], which is 0 elsewhere, and mask [S, E]."""
    mask = mask[:, None, None]
    count = mask.sum(-1, keepdim=True)
    centred = (x - (x * mask).sum(-1, keepdim=True) / count) * mask
    variance = centred.square().sum(-1, keepdim=True) / count
    return (centred * (variance + EPSILON).rsqrt() * layer.weight + layer.bias) * mask
