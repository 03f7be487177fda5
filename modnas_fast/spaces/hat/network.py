"""A standalone network of the HAT space: an encoder-decoder for pairs of sentences, and what it translates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.hat.beam import beam_search

EPSILON = 1e-5
#: fairseq's ids of padding and of the end of a sentence; the latter also begins what is decoded
PADDING, END = 1, 2
#: of the longest wave of the positions, in units of the shortest
LONGEST_WAVE = 10_000.0
#: keys and values [B, h, L, d_h]
KeysValues = tuple[Tensor, Tensor]


class Shape(NamedTuple):
    """What one network is; sequences have an entry per layer."""

    encoder_width: int
    encoder_ffns: tuple[int, ...]
    encoder_heads: tuple[int, ...]
    decoder_width: int
    decoder_ffns: tuple[int, ...]
    decoder_heads: tuple[int, ...]
    cross_heads: tuple[int, ...]
    #: how many of the last encoder layers each decoder layer attends to
    reaches: tuple[int, ...]


class SelfAttention(nn.Module):
    """Attention of tokens of one sentence to each other; queries, keys and values have `inner` channels each."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor, mask: Tensor | None, past: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """Outputs [B, L, d], and the keys and values of all tokens seen so far.

        Without a mask ([B, 1, 1, L], true where a token may be seen) each token sees those before it and itself.
        """
        q, k, v = (by_heads(part, self.heads) for part in self.in_proj(x).chunk(3, dim=-1))
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        causal = mask is None and past is None
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), (k, v)


class CrossAttention(nn.Module):
    """Attention of tokens of the target to what the encoder made of the source."""

    def __init__(self, width: int, memory_width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.kv_proj = nn.Linear(memory_width, 2 * inner)
        self.out_proj = nn.Linear(inner, width)

    def keys_and_values(self, memory: Tensor) -> KeysValues:
        """Of the encoder's outputs [B, S, d_e]; they serve for every token of the target."""
        k, v = (by_heads(part, self.heads) for part in self.kv_proj(memory).chunk(2, dim=-1))
        return k, v

    def forward(self, x: Tensor, memory: KeysValues, mask: Tensor) -> Tensor:
        """Outputs [B, L, d]; mask [B, 1, 1, S] is true where a key may be seen."""
        q = by_heads(self.q_proj(x), self.heads)
        attended = F.scaled_dot_product_attention(q, *memory, attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + ffn(x))."""

    def __init__(self, width: int, ffn: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads, inner)
        self.self_attn_layer_norm = nn.LayerNorm(width, EPSILON)
        self.fc1, self.fc2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.final_layer_norm = nn.LayerNorm(width, EPSILON)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.feed(self.attend(x, mask)[0])

    def attend(self, x: Tensor, mask: Tensor | None, past: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """The first half, [B, L, d], and keys and values as `SelfAttention` gives them."""
        attended, seen = self.self_attn(x, mask, past)
        x = self.self_attn_layer_norm(x + attended)
        return x, seen

    def feed(self, x: Tensor) -> Tensor:
        """The last half, [B, L, d]."""
        y: Tensor = self.final_layer_norm(x + self.fc2(F.relu(self.fc1(x))))
        return y


class DecoderLayer(EncoderLayer):
    """As an encoder layer, with attention to the encoder between, and no look ahead."""

    def __init__(self, width: int, memory_width: int, ffn: int, heads: int, cross_heads: int, inner: int) -> None:
        super().__init__(width, ffn, heads, inner)
        self.encoder_attn = CrossAttention(width, memory_width, cross_heads, inner)
        self.encoder_attn_layer_norm = nn.LayerNorm(width, EPSILON)

    def forward(  # type: ignore[override]  # of two sentences, not one
        self, x: Tensor, memory: KeysValues, mask: Tensor, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Outputs [B, L, d], and keys and values of the target's tokens seen so far."""
        x, seen = self.attend(x, None, past)
        return self.feed(self.look(x, memory, mask)), seen

    def look(self, x: Tensor, memory: KeysValues, mask: Tensor) -> Tensor:
        """What stands between: attention to the encoder, [B, L, d]."""
        y: Tensor = self.encoder_attn_layer_norm(x + self.encoder_attn(x, memory, mask))
        return y


class Seen(NamedTuple):
    """What decoding keeps between tokens; every tensor has the rows of the batch first."""

    #: of each decoder layer, keys and values of the source
    memories: list[KeysValues]
    #: [B, 1, 1, reach · S] of each decoder layer
    masks: list[Tensor]
    #: of each decoder layer, of the target's tokens so far; empty before the first
    past: list[KeysValues]

    def rows(self, order: Tensor) -> Seen:
        """The same with the rows in `order`, some of them several times."""
        return Seen(
            [(k[order], v[order]) for k, v in self.memories],
            [mask[order] for mask in self.masks],
            [(k[order], v[order]) for k, v in self.past],
        )


class HATNetwork(nn.Module):
    """Pairs of sentences [B, 2, L] in, logits [B, L, V] out.

    A pair is the source, and the target as far as it is known, which begins with `end`; both end in `padding`. The
    logits of each place are those of the next token of the target.

    Args:
        shape: of the network.
        vocabulary: V, of both languages; the output matrix is the token embedding's.
        inner: channels of queries, keys and values, whatever the widths are.
        position_widths: channels of the sinusoids of encoder and decoder, of which the first are used: those of the
            space's widest network, so that narrow ones are prefixes of it; None: the network's own widths.
        padding, end: ids of these tokens.
    """

    def __init__(
        self,
        shape: Shape,
        vocabulary: int,
        inner: int,
        position_widths: tuple[int, int] | None = None,
        *,
        padding: int = PADDING,
        end: int = END,
    ) -> None:
        super().__init__()
        widths = (shape.encoder_width, shape.decoder_width)
        self.widths, self.position_widths = widths, position_widths or widths
        self.reaches, self.padding, self.end = shape.reaches, padding, end
        self.embed_tokens = nn.Embedding(vocabulary, max(widths))
        self.encoder: Iterable[EncoderLayer] = nn.ModuleList(  # type: ignore[assignment]  # says not of which modules
            EncoderLayer(widths[0], ffn, heads, inner)
            for ffn, heads in zip(shape.encoder_ffns, shape.encoder_heads, strict=True)
        )
        each = zip(shape.decoder_ffns, shape.decoder_heads, shape.cross_heads, strict=True)
        self.decoder: Sequence[DecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            DecoderLayer(widths[1], widths[0], *sizes, inner) for sizes in each
        )
        initialize(self)

    def forward(self, pairs: Tensor) -> Tensor:
        source, before = pairs.unbind(1)
        return self._decode(before, self.encode(source))[0]

    def encode(self, source: Tensor) -> Seen:
        """What decoding wants of sources [B, S], padded at their ends."""
        mask = (source != self.padding)[:, None, None]  # [B, 1, 1, S]
        x = self.embedded(source, 0, 0)
        states = []
        for layer in self.encoder:
            x = layer(x, mask)
            states.append(x)
        memories, masks = [], []
        for block, reach in zip(self.decoder, self.reaches):
            memories.append(block.encoder_attn.keys_and_values(torch.cat(states[len(states) - reach :], dim=1)))
            masks.append(mask.repeat(1, 1, 1, reach))
        return Seen(memories, masks, [])

    def _decode(self, tokens: Tensor, seen: Seen) -> tuple[Tensor, Seen]:
        """Logits [B, L, V] behind further tokens [B, L] of the target, and what was seen with them."""
        behind = seen.past[0][0].shape[2] if seen.past else 0
        x = self.embedded(tokens, 1, behind)
        past = []
        for number, layer in enumerate(self.decoder):
            before = seen.past[number] if seen.past else None
            x, keys_values = layer(x, seen.memories[number], seen.masks[number], before)
            past.append(keys_values)
        logits = F.linear(x, self.embed_tokens.weight[:, : self.widths[1]])
        return logits, seen._replace(past=past)

    def embedded(self, ids: Tensor, side: int, behind: int) -> Tensor:
        """Tokens [B, L] with their positions behind so many others; side 0 is the source, 1 the target."""
        width = self.widths[side]
        vectors = F.embedding(ids, self.embed_tokens.weight[:, :width]) * math.sqrt(width)
        waves = sinusoids(behind, ids.shape[1], self.position_widths[side], vectors)[:, :width]
        return vectors + waves * (ids != self.padding)[..., None]

    @torch.no_grad()
    def translate(
        self, source: Tensor, *, beam: int = 1, length_penalty: float = 0.6, longest: int | None = None
    ) -> list[list[int]]:
        """The translations of sources [B, S], padded at their ends, as ids without those of beginning and end.

        Args:
            source: ids.
            beam: candidates that are kept; 1 takes the most probable token each time.
            length_penalty: a candidate's log-probability is divided by its length to this power.
            longest: tokens of a translation; None: twice those of the source and ten more.

        Raises ValueError for a source of another shape and numbers out of range.
        """
        if source.dim() != 2 or not source.shape[1]:
            raise ValueError(f"source: wanted ids [B, S] of at least one token, got {list(source.shape)}")
        if beam < 1 or (longest is not None and longest < 1):
            raise ValueError(f"beam and longest: wanted at least 1, got {beam} and {longest}")
        seen = self.encode(source).rows(torch.arange(len(source), device=source.device).repeat_interleave(beam))

        def advance(tokens: Tensor, order: Tensor) -> Tensor:
            nonlocal seen
            logits, seen = self._decode(tokens[:, None], seen.rows(order))
            logits = logits[:, -1].float()
            logits[:, self.padding] = -torch.inf
            return logits.log_softmax(-1)

        most = longest or 2 * source.shape[1] + 10
        return beam_search(advance, len(source), beam, self.end, most, length_penalty, source.device)

    @torch.no_grad()
    def decode_for(self, source: Tensor, tokens: int) -> Tensor:
        """Encodes sources [B, S], and decodes `tokens` tokens one after the other, the most probable ones.

        What a translation of that length takes, for measuring; returns the last tokens [B].
        """
        seen, new = self.encode(source), torch.full_like(source[:, :1], self.end)
        for _ in range(tokens):
            logits, seen = self._decode(new, seen)
            new = logits.argmax(dim=-1)
        return new[:, 0]


def by_heads(x: Tensor, heads: int) -> Tensor:
    """[B, h, L, d_h] of [B, L, h · d_h]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def sinusoids(behind: int, count: int, width: int, like: Tensor) -> Tensor:
    """[count, width]: sines, then cosines, of positions behind so many others, in the format of `like`, as fairseq's.

    Its positions are counted from the padding's id on, which makes the first one 2.
    """
    half = width // 2
    rates = LONGEST_WAVE ** (-torch.arange(half, dtype=torch.float64, device=like.device) / max(half - 1, 1))
    first = PADDING + 1 + behind
    angles = torch.arange(first, first + count, dtype=torch.float64, device=like.device)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return F.pad(waves, (0, width - 2 * half)).to(like.dtype)


def initialize(network: nn.Module) -> None:
    """Weights as in fairseq, in place: Glorot's uniform ones, embeddings N(0, 1 / E), biases 0."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.endswith("embed_tokens.weight"):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        elif parameter.dim() == 2:
            nn.init.xavier_uniform_(parameter)
