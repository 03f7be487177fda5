"""The one-shot network of a HAT space: the weights of the largest network, of which each network uses a prefix.

Widths and feed-forward sizes of a sample are masks on the shared layers (entangled by prefix, as published); heads and
reaches, which decide how attention is computed and of what, mix the outputs of their options; depth mixes layers with
what goes past them. So a sample may be soft. What a network does not use is exactly 0 and reaches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.hat.network import END, EPSILON, PADDING, Shape, by_heads, initialize, sinusoids
from modnas_fast.supernets.entangled_norm import entangled_norm
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.memo import Memo
from modnas_fast.supernets.prefixes import prefixes
from modnas_fast.supernets.supernet import Supernet

if TYPE_CHECKING:
    from modnas_fast.spaces.hat.space import HATSpace

#: keys of the embedding of source and target, which is that of the output too
TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
#: what fairseq keeps beside weights
LEFT_OUT = (
    "encoder.version",
    "decoder.version",
    "encoder.embed_positions._float_tensor",
    "decoder.embed_positions._float_tensor",
)


class SharedAttention(nn.Module):
    """Weights of one attention under fairseq's names: queries, keys and values in one matrix."""

    def __init__(self, width: int, memory_width: int, inner: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * inner, max(width, memory_width)))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * inner))
        self.out_proj = nn.Linear(inner, width)


class SharedLayer(nn.Module):
    """Weights of a layer of the encoder, or with `memory_width`, the encoder's, of the decoder."""

    def __init__(self, width: int, ffn: int, inner: int, memory_width: int | None = None) -> None:
        super().__init__()
        self.self_attn = SharedAttention(width, width, inner)
        self.self_attn_layer_norm = nn.LayerNorm(width, EPSILON)
        if memory_width is not None:
            self.encoder_attn = SharedAttention(width, memory_width, inner)
            self.encoder_attn_layer_norm = nn.LayerNorm(width, EPSILON)
        self.fc1, self.fc2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.final_layer_norm = nn.LayerNorm(width, EPSILON)


class Side(nn.Module):
    """Encoder or decoder."""

    layers: Sequence[SharedLayer]

    def __init__(self, embed_tokens: nn.Embedding, layers: Iterator[SharedLayer]) -> None:
        super().__init__()
        self.embed_tokens = embed_tokens
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]  # a list of modules does not say of which


class Masks(NamedTuple):
    """Of S samples, what they use of one side; 0 or 1 for one-hots."""

    #: channels, [S, E]
    width: Tensor
    #: what tokens are scaled by, √d on the channels in use, [S, E]
    scale: Tensor
    #: whether each layer is there, [S, L]
    present: Tensor
    #: channels of each layer's feed-forward part, [S, L, F]
    ffn: Tensor


class Way(NamedTuple):
    """One way of attention, which samples take in shares."""

    #: [S]
    share: Tensor
    heads: int
    #: how many of the keys it sees at most
    keys: int
    #: [B, 1, 1, keys], true where a key may be seen; None: each token sees those before it and itself
    mask: Tensor | None


class HATSupernet(Supernet):
    """Shared weights w of all networks of a HAT space; keys of the weights are fairseq's.

    Args:
        space: whose networks share them.
        vocabulary: V.
        padding, end: ids of these tokens.

    `predict` takes pairs of sentences [B, 2, L] (see `HATNetwork`) and gives logits [S, B, L, V] of samples [S, N].
    """

    def __init__(self, space: HATSpace, vocabulary: int, padding: int = PADDING, end: int = END) -> None:
        super().__init__()
        self._space, self._padding = space, padding
        scale = space.scale
        widths = (scale.encoder_widths[-1], scale.decoder_widths[-1])
        tokens = nn.Embedding(vocabulary, max(widths))
        encoder = (SharedLayer(widths[0], scale.encoder_ffns[-1], scale.inner) for _ in range(scale.encoder_layers))
        decoder = (
            SharedLayer(widths[1], scale.decoder_ffns[-1], scale.inner, widths[0]) for _ in range(scale.decoder_layers)
        )
        self.encoder, self.decoder = Side(tokens, encoder), Side(tokens, decoder)
        initialize(self)

    def predict_from(
        self,
        state: Tensor,
        onehot: Tensor,
        *,
        hard: bool | None = None,
        exact: bool = True,
        recompute: bool = False,
        memo_of_state: Memo | None = None,
    ) -> LinearOutputs:
        """What makes logits [S, B, L, V] of samples [S, N] for pairs of sentences, ids [B, 2, L].

        Hard samples without a gradient of their own are computed with prefixes of the weights, one after the other.
        Where `exact` is False, heads and reaches that a sample does not choose have no gradient. The last two are not
        used.
        """
        if hard is None:
            hard = onehot.device.type == "cpu" and bool(((onehot == 0) | (onehot == 1)).all())
        weight = self.decoder.embed_tokens.weight
        if hard and not (onehot.requires_grad and torch.is_grad_enabled()):
            shapes = [self._space.shape(row) for row in self._space.indices(onehot.detach().cpu()).tolist()]
            return LinearOutputs([self._network(state, shape) for shape in shapes], weight)
        return LinearOutputs(self._mixture(state, onehot.to(weight), exact).unbind(), weight)

    # ---- one network, by prefixes ----

    def _network(self, pairs: Tensor, shape: Shape) -> Tensor:
        """Hidden states [B, L, d_d] of one network."""
        source, before = pairs.unbind(1)
        mask = (source != self._padding)[:, None, None]
        x, states = self._embedded(source, self._space.scale.encoder_widths[-1], shape.encoder_width), []
        for layer, ffn, heads in zip(self.encoder.layers, shape.encoder_ffns, shape.encoder_heads):
            x = _prefix_norm(layer.self_attn_layer_norm, x + self._prefix_attention(layer.self_attn, x, x, heads, mask))
            x = _prefix_norm(layer.final_layer_norm, x + _prefix_ffn(layer, x, ffn))
            states.append(x)
        x = self._embedded(before, self._space.scale.decoder_widths[-1], shape.decoder_width)
        of_layers = zip(shape.decoder_ffns, shape.decoder_heads, shape.cross_heads, shape.reaches)
        for layer, (ffn, heads, cross, reach) in zip(self.decoder.layers, of_layers):
            x = _prefix_norm(layer.self_attn_layer_norm, x + self._prefix_attention(layer.self_attn, x, x, heads, None))
            memory = torch.cat(states[len(states) - reach :], dim=1)
            seen = mask.repeat(1, 1, 1, reach)
            attended = self._prefix_attention(layer.encoder_attn, x, memory, cross, seen)
            x = _prefix_norm(layer.encoder_attn_layer_norm, x + attended)
            x = _prefix_norm(layer.final_layer_norm, x + _prefix_ffn(layer, x, ffn))
        return x

    def _embedded(self, ids: Tensor, widest: int, width: int) -> Tensor:
        vectors = F.embedding(ids, self.encoder.embed_tokens.weight[:, :width]) * math.sqrt(width)
        return vectors + self._waves(ids, widest, vectors)[..., :width]

    def _waves(self, ids: Tensor, widest: int, like: Tensor) -> Tensor:
        """Positions [B, L, widest]; 0 for padding."""
        return sinusoids(0, ids.shape[1], widest, like) * (ids != self._padding)[..., None]

    def _prefix_attention(
        self, weights: SharedAttention, x: Tensor, memory: Tensor, heads: int, mask: Tensor | None
    ) -> Tensor:
        """Of x [B, L, d] to memory [B, S, d_m]; without a mask to itself and what is before."""
        inner, matrix, bias = self._space.scale.inner, weights.in_proj_weight, weights.in_proj_bias
        q = F.linear(x, matrix[:inner, : x.shape[-1]], bias[:inner])
        k, v = F.linear(memory, matrix[inner:, : memory.shape[-1]], bias[inner:]).chunk(2, dim=-1)
        q, k, v = (by_heads(part, heads) for part in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        out, width = weights.out_proj, x.shape[-1]
        return F.linear(attended.transpose(1, 2).flatten(2), out.weight[:width], out.bias[:width])

    # ---- samples that may be soft, by masks ----

    def _mixture(self, pairs: Tensor, onehot: Tensor, exact: bool) -> Tensor:
        """Hidden states [S, B, L, D], differentiable in the samples [S, N]."""
        scale, (fixed, layered) = self._space.scale, self._space.split(onehot)
        encoder = self._masks(fixed, layered["encoder_ffn"], decoder=False)
        decoder = self._masks(fixed, layered["decoder_ffn"], decoder=True)
        shares = {name: part if exact else part * (part > 0) for name, part in layered.items()}
        source, before = pairs.unbind(1)
        seen = (source != self._padding)[:, None, None]
        x, states = self._masked_embedding(source, encoder), []
        for number, layer in enumerate(self.encoder.layers):
            ways = [
                Way(share, heads, x.shape[2], seen)
                for share, heads in zip(shares["encoder_heads"][:, number].unbind(-1), scale.encoder_heads)
            ]
            y = _norm(layer.self_attn_layer_norm, x + self._mixed(layer.self_attn, x, x, ways), encoder.width)
            y = _norm(layer.final_layer_norm, y + _masked_ffn(layer, y, encoder, number), encoder.width)
            x = x + encoder.present[:, number, None, None, None] * (y - x)
            states.append(x)
        memory = torch.cat(self._last_first(states, fixed[2]), dim=2)
        x = self._masked_embedding(before, decoder)
        for number, layer in enumerate(self.decoder.layers):
            ways = [
                Way(share, heads, x.shape[2], None)
                for share, heads in zip(shares["decoder_heads"][:, number].unbind(-1), scale.decoder_heads)
            ]
            y = _norm(layer.self_attn_layer_norm, x + self._mixed(layer.self_attn, x, x, ways), decoder.width)
            ways = [
                Way(heads_share * reach_share, heads, reach * source.shape[1], seen.repeat(1, 1, 1, reach))
                for heads_share, heads in zip(shares["cross_heads"][:, number].unbind(-1), scale.cross_heads)
                for reach_share, reach in zip(shares["reach"][:, number].unbind(-1), scale.reaches)
            ]
            attended = self._mixed(layer.encoder_attn, y, memory, ways)
            y = _norm(layer.encoder_attn_layer_norm, y + attended, decoder.width)
            y = _norm(layer.final_layer_norm, y + _masked_ffn(layer, y, decoder, number), decoder.width)
            x = x + decoder.present[:, number, None, None, None] * (y - x)
        return x

    def _masks(self, fixed: Sequence[Tensor], ffn: Tensor, decoder: bool) -> Masks:
        """Of one side; `fixed` are widths and depths of encoder and decoder."""
        scale = self._space.scale
        widths, ffns = (
            (scale.decoder_widths, scale.decoder_ffns) if decoder else (scale.encoder_widths, scale.encoder_ffns)
        )
        channels = prefixes(widths, ffn)
        roots = torch.tensor(widths, device=ffn.device).to(ffn).sqrt()
        return Masks(
            fixed[decoder] @ channels,
            fixed[decoder] @ (roots[:, None] * channels),
            self._space.present(fixed[2 + decoder], decoder),
            ffn @ prefixes(ffns, ffn),
        )

    def _masked_embedding(self, ids: Tensor, masks: Masks) -> Tensor:
        """Tokens with their positions, [S, B, L, E]."""
        widest = masks.width.shape[-1]
        vectors = F.embedding(ids, self.encoder.embed_tokens.weight[:, :widest])
        waves = self._waves(ids, widest, vectors)
        return vectors * masks.scale[:, None, None] + waves * masks.width[:, None, None]

    def _last_first(self, states: Sequence[Tensor], depth: Tensor) -> list[Tensor]:
        """The last encoder layers' outputs [S, B, L, E], as far as a decoder layer may reach; the last one first."""
        depths = self._space.scale.encoder_depths
        return [
            sum(
                (
                    share[:, None, None, None] * states[count - 1 - back]
                    for share, count in zip(depth.unbind(-1), depths)
                ),
                torch.zeros_like(states[0]),
            )
            for back in range(self._space.scale.reaches[-1])
        ]

    def _mixed(self, weights: SharedAttention, x: Tensor, memory: Tensor, ways: Sequence[Way]) -> Tensor:
        """Attention of x [S, B, L, D] to memory [S, B, K, E], in several ways at once: [S, B, L, D].

        What is not in use of both is 0, and what comes back is not masked.
        """
        inner, matrix, bias = self._space.scale.inner, weights.in_proj_weight, weights.in_proj_bias
        q = F.linear(x, matrix[:inner, : x.shape[-1]], bias[:inner])
        k, v = F.linear(memory, matrix[inner:, : memory.shape[-1]], bias[inner:]).chunk(2, dim=-1)
        attended = torch.zeros_like(q)
        for way in ways:
            seen = (q, k[:, :, : way.keys], v[:, :, : way.keys])
            queries, keys, values = (part.unflatten(-1, (way.heads, -1)).transpose(2, 3) for part in seen)
            causal = way.mask is None
            found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=way.mask, is_causal=causal)
            attended = attended + way.share[:, None, None, None] * found.transpose(2, 3).flatten(3)
        return weights.out_proj(attended)


def _prefix_ffn(layer: SharedLayer, x: Tensor, ffn: int) -> Tensor:
    """The feed-forward part with its first `ffn` channels, of x [B, L, d]."""
    width = x.shape[-1]
    inner = F.relu(F.linear(x, layer.fc1.weight[:ffn, :width], layer.fc1.bias[:ffn]))
    return F.linear(inner, layer.fc2.weight[:width, :ffn], layer.fc2.bias[:width])


def _prefix_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    width = x.shape[-1]
    return F.layer_norm(x, (width,), layer.weight[:width], layer.bias[:width], EPSILON)


def _masked_ffn(layer: SharedLayer, x: Tensor, masks: Masks, number: int) -> Tensor:
    """The feed-forward part of layer `number`, of x [S, B, L, D]; what comes back is not masked."""
    inner = F.relu(layer.fc1(x)) * masks.ffn[:, number, None, None]
    return layer.fc2(inner)


def _norm(layer: nn.LayerNorm, x: Tensor, mask: Tensor) -> Tensor:
    """Over the channels in use, of x [S, B, L, D] and mask [S, D]; 0 elsewhere."""
    return entangled_norm(x, layer.weight, layer.bias, mask, EPSILON)
