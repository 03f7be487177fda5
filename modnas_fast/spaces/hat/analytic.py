"""Parameters, FLOPs and memory of encoder-decoders: formulas in the choices.

Memory is the largest of what lives at once in one part of the pass: the embedding of the source, a layer of the
encoder, keys and values for one of the decoder, the embedding of the target, a layer of the decoder, and the output.
What a layer takes by itself is counted once per combination of its options; beside it lives what later parts read.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modnas_fast.spaces.counting import FLOAT_BYTES, MEGABYTE, peak_bytes
from modnas_fast.spaces.hat.network import DecoderLayer, HATNetwork, Shape

if TYPE_CHECKING:
    from modnas_fast.spaces.hat.space import HATSpace

#: of an id, and of an entry of a mask
ID_BYTES, MASK_BYTES = 8, 1


class PartBytes:
    """What parts of the pass take by themselves for `tokens` tokens on either side, by their options."""

    def __init__(self, space: HATSpace, tokens: int) -> None:
        scale, inner = space.scale, space.scale.inner

        def floats(*shape: int) -> Tensor:
            return torch.empty(1, *shape, device="meta")

        def mask(reach: int) -> Tensor:
            return torch.empty(1, 1, 1, reach * tokens, dtype=torch.bool, device="meta")

        def layer(width: int, ffn: int = 1, heads: int = 1, cross: int = 1) -> DecoderLayer:
            with torch.device("meta"):
                return DecoderLayer(width, width, ffn, heads, cross, inner)

        def attention(width: int, heads: int, again: bool) -> int:
            made, x, seen = layer(width, heads=heads), floats(tokens, width), mask(1)
            return peak_bytes(made, lambda *read: made.attend(*read)[0], (x, seen), (x, seen) if again else (seen,))

        def causal(width: int, heads: int) -> int:
            made = layer(width, heads=heads)
            return peak_bytes(made, lambda x: made.attend(x, None)[0], [floats(tokens, width)])

        def cross(width: int, heads: int, reach: int) -> int:
            made = layer(width, cross=heads)

            def look(x: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
                k, v = memory.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4).unbind()
                return made.look(x, (k, v), seen)

            return peak_bytes(made, look, (floats(tokens, width), floats(reach * tokens, 2 * inner), mask(reach)))

        def feed(width: int, ffn: int) -> int:
            made = layer(width, ffn)
            return peak_bytes(made, made.feed, [floats(tokens, width)])

        self.attention = _table(attention, scale.encoder_widths, scale.encoder_heads, (False, True))
        """Of an encoder layer with its mask, [widths, heads, 2]: the last one where its input is read again later."""
        self.encoder_feed = _table(feed, scale.encoder_widths, scale.encoder_ffns)
        """[widths, ffns]."""
        self.causal = _table(causal, scale.decoder_widths, scale.decoder_heads)
        """Of a decoder layer's attention to its own tokens, [widths, heads]."""
        self.cross = _table(cross, scale.decoder_widths, scale.cross_heads, scale.reaches)
        """Of that to the encoder, with keys, values and mask, [widths, heads, reaches]."""
        self.decoder_feed = _table(feed, scale.decoder_widths, scale.decoder_ffns)
        """[widths, ffns]."""
        self.source = _table(lambda width: _embedding(space, tokens, 0, width), scale.encoder_widths)
        """Of the source's embedding, with the ids of both sides, [widths]."""
        self.target = _table(lambda width: _embedding(space, tokens, 1, width), scale.decoder_widths)
        """Of the target's, [widths]."""


def _embedding(space: HATSpace, tokens: int, side: int, width: int) -> int:
    """Bytes of the embedding of one side; the source's comes first, so that the ids live on behind it."""
    scale = space.scale
    none: tuple[int, ...] = ()
    shape = Shape(width, (scale.encoder_ffns[0],), (scale.encoder_heads[0],), width, none, none, none, none)
    with torch.device("meta"):
        network = HATNetwork(shape, 2, scale.inner, (scale.encoder_widths[-1], scale.decoder_widths[-1]))
    pairs = torch.empty(1, 2, tokens, dtype=torch.int64, device="meta")
    return peak_bytes(network, lambda ids: network.embedded(ids[:, side], side, 0), [pairs], [pairs][side:])


def _table(count: object, *options: tuple[object, ...]) -> Tensor:
    """What `count` gives for every combination, float64, a dimension per kind of option."""
    assert callable(count)
    values = [count(*chosen) for chosen in product(*options)]
    return torch.tensor(values, dtype=torch.float64).view([len(part) for part in options])


def costs(space: HATSpace, onehot: Tensor, parts: PartBytes, tokens: int, vocabulary: int) -> dict[str, Tensor]:
    """`parameters`, `flops` and `memory` (MB), float64 [...] each, of one-hots or relaxed samples [..., N].

    Linear in every choice, but for products of both widths, the farthest reach and the memory's maximum over parts;
    exact for one-hots.
    """
    sizes = _Sizes(space, onehot)
    parameters = _parameters(sizes, vocabulary)
    activations = _activations(sizes, parts, tokens, vocabulary)
    return {
        "parameters": parameters,
        "flops": _flops(sizes, tokens, vocabulary),
        "memory": (FLOAT_BYTES * parameters + activations) / MEGABYTE,
    }


class _Sizes:
    """Of samples, what formulas need: shares of options, and the sizes that they make."""

    def __init__(self, space: HATSpace, onehot: Tensor) -> None:
        scale = self.scale = space.scale
        fixed, self.layered = space.split(onehot.double())
        self.widths = fixed[0], fixed[1]
        self.encoder_width = _mean(fixed[0], scale.encoder_widths)
        self.decoder_width = _mean(fixed[1], scale.decoder_widths)
        wider = [[max(e, d) for d in scale.decoder_widths] for e in scale.encoder_widths]
        self.wider = torch.einsum("...e,...d,ed->...", *self.widths, torch.tensor(wider).to(fixed[0]))
        self.depth = _mean(fixed[2], scale.encoder_depths)
        self.in_encoder, self.in_decoder = space.present(fixed[2], False), space.present(fixed[3], True)
        self.encoder_ffn = _mean(self.layered["encoder_ffn"], scale.encoder_ffns)  # [..., L]
        self.decoder_ffn = _mean(self.layered["decoder_ffn"], scale.decoder_ffns)
        self.reach = self.in_decoder * _mean(self.layered["reach"], scale.reaches)


def _mean(part: Tensor, sizes: tuple[int, ...]) -> Tensor:
    return part @ torch.tensor(sizes).to(part)


def _parameters(sizes: _Sizes, vocabulary: int) -> Tensor:
    inner, e, d = sizes.scale.inner, sizes.encoder_width, sizes.decoder_width

    def layers(width: Tensor, ffn: Tensor, present: Tensor, more: Tensor) -> Tensor:
        attention = 3 * inner * (width + 1) + width * (inner + 1)
        always = (attention + 5 * width + more)[..., None]  # two norms, and the last bias
        return (present * (always + ffn * (2 * width[..., None] + 1))).sum(-1)

    cross = inner * (d + 1) + 2 * inner * (e + 1) + d * (inner + 1) + 2 * d
    encoder = layers(e, sizes.encoder_ffn, sizes.in_encoder, torch.zeros_like(e))
    return vocabulary * sizes.wider + encoder + layers(d, sizes.decoder_ffn, sizes.in_decoder, cross)


def _flops(sizes: _Sizes, tokens: int, vocabulary: int) -> Tensor:
    inner, e, d = sizes.scale.inner, sizes.encoder_width, sizes.decoder_width

    def layers(width: Tensor, ffn: Tensor, present: Tensor, projections: int, attended: float | Tensor) -> Tensor:
        of_token = projections * inner * width[..., None] + 2 * width[..., None] * ffn
        return (present * (2 * tokens * of_token + 4 * inner * tokens**2 * attended)).sum(-1)

    encoder = layers(e, sizes.encoder_ffn, sizes.in_encoder, 4, 1.0)
    decoder = layers(d, sizes.decoder_ffn, sizes.in_decoder, 6, 1.0 + sizes.reach)
    memories = 4 * tokens * inner * e * sizes.reach.sum(-1)
    return encoder + decoder + memories + 2 * tokens * vocabulary * d


def _activations(sizes: _Sizes, parts: PartBytes, tokens: int, vocabulary: int) -> Tensor:
    """Bytes at most."""
    e, d, reach = sizes.encoder_width, sizes.decoder_width, sizes.reach
    ids, mask = 2 * tokens * ID_BYTES, tokens * MASK_BYTES
    state = FLOAT_BYTES * tokens * e
    kept = reach * tokens * (FLOAT_BYTES * 2 * sizes.scale.inner + MASK_BYTES)  # for each decoder layer
    behind = _behind(reach)
    in_encoder = [part + ids * sizes.in_encoder for part in _in_encoder(sizes, parts, behind[..., 0], state, mask)]
    # keys and values for the decoder's layers: the states that each reads are joined, and projected
    before = ids + mask + kept.cumsum(-1) - kept
    joined = before + state[..., None] * (behind + reach)
    following = torch.cat([behind[..., 1:], torch.zeros_like(behind[..., :1])], dim=-1)
    projected = before + state[..., None] * (following + reach) + kept - reach * mask
    alone = [
        sizes.widths[0] @ parts.source.to(e) + mask,
        sizes.widths[1] @ parts.target.to(d) + kept.sum(-1),
        FLOAT_BYTES * tokens * (d + vocabulary),
    ]
    in_decoder = _in_decoder(sizes, parts, kept)
    return torch.cat([torch.stack(alone, dim=-1), *in_encoder, joined, projected, *in_decoder], dim=-1).amax(-1)


def _in_encoder(sizes: _Sizes, parts: PartBytes, farthest: Tensor, state: Tensor, mask: int) -> list[Tensor]:
    """Bytes of both halves of every layer [..., L], with the mask and outputs of layers before that are read later."""
    width, heads, ffn = sizes.widths[0], sizes.layered["encoder_heads"], sizes.layered["encoder_ffn"]
    once, again = torch.einsum("...w,...lh,whk->...lk", width, heads, parts.attention.to(heads)).unbind(-1)
    feed = torch.einsum("...w,...lf,wf->...l", width, ffn, parts.encoder_feed.to(ffn))
    # how many outputs of layers before are read later; the layer's input is the last of them
    read = (farthest - sizes.depth)[..., None] + torch.arange(ffn.shape[-2], device=ffn.device)
    others = state[..., None] * (read - 1).clamp(min=0)
    halves = (
        torch.lerp(once, again, read.clamp(0, 1)) + others,
        feed + mask + others + state[..., None] * read.clamp(0, 1),
    )
    return [sizes.in_encoder * half for half in halves]


def _in_decoder(sizes: _Sizes, parts: PartBytes, kept: Tensor) -> list[Tensor]:
    """Bytes of the parts of every layer [..., L], with the keys and values that are read later, `kept` for each."""
    layered, width = sizes.layered, sizes.widths[1]
    heads, cross, ffn, reach = (layered[name] for name in ("decoder_heads", "cross_heads", "decoder_ffn", "reach"))
    own = torch.einsum("...w,...lh,wh->...l", width, heads, parts.causal.to(heads))
    look = torch.einsum("...w,...lx,...lr,wxr->...l", width, cross, reach, parts.cross.to(heads))
    feed = torch.einsum("...w,...lf,wf->...l", width, ffn, parts.decoder_feed.to(ffn))
    from_here = kept.flip(-1).cumsum(-1).flip(-1)
    later = from_here - kept
    return [sizes.in_decoder * part for part in (own + from_here, look + later, feed + later)]


def _behind(reach: Tensor) -> Tensor:
    """The farthest reach of each layer and those behind it, [..., L]."""
    return reach.flip(-1).cummax(-1).values.flip(-1)
