"""A standalone network's weights out of the shared ones, which have fairseq's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from modnas_fast.spaces.hat.network import Shape


def inherited(shared: Mapping[str, Tensor], shape: Shape, inner: int) -> dict[str, Tensor]:
    """The weights of `HATNetwork`: of every shared weight the prefix that the network uses.

    Args:
        shared: by fairseq's names, as a `HATSupernet` has them.
        shape: of the network.
        inner: channels of queries, keys and values.
    """
    widths = (shape.encoder_width, shape.decoder_width)
    found = {"embed_tokens.weight": shared["encoder.embed_tokens.weight"][:, : max(widths)]}
    for side, width, ffns in (("encoder", widths[0], shape.encoder_ffns), ("decoder", widths[1], shape.decoder_ffns)):
        for layer, ffn in enumerate(ffns):
            here, there = f"{side}.{layer}", f"{side}.layers.{layer}"
            parts = {"self_attn_layer_norm": width, "final_layer_norm": width}
            found |= _linear(shared, f"{there}.self_attn", f"{here}.self_attn.in_proj", slice(None), width)
            found |= _prefix(shared, f"{there}.self_attn.out_proj", f"{here}.self_attn.out_proj", width)
            found |= _prefix(shared, f"{there}.fc1", f"{here}.fc1", ffn, width)
            found |= _prefix(shared, f"{there}.fc2", f"{here}.fc2", width, ffn)
            if side == "decoder":
                cross, own = f"{there}.encoder_attn", f"{here}.encoder_attn"
                parts["encoder_attn_layer_norm"] = width
                found |= _linear(shared, cross, f"{own}.q_proj", slice(None, inner), width)
                found |= _linear(shared, cross, f"{own}.kv_proj", slice(inner, None), widths[0])
                found |= _prefix(shared, f"{cross}.out_proj", f"{own}.out_proj", width)
            for norm, size in parts.items():
                found |= _prefix(shared, f"{there}.{norm}", f"{here}.{norm}", size)
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def _linear(shared: Mapping[str, Tensor], there: str, here: str, rows: slice, width: int) -> dict[str, Tensor]:
    """Of an attention's matrix of queries, keys and values."""
    return {
        f"{here}.weight": shared[f"{there}.in_proj_weight"][rows, :width],
        f"{here}.bias": shared[f"{there}.in_proj_bias"][rows],
    }


def _prefix(
    shared: Mapping[str, Tensor], there: str, here: str, outputs: int, inputs: int | None = None
) -> dict[str, Tensor]:
    """Weight and bias of a linear layer, or of a norm, with its first outputs, of its first inputs."""
    weight = shared[f"{there}.weight"][:outputs]
    return {
        f"{here}.weight": weight if inputs is None else weight[:, :inputs],
        f"{here}.bias": shared[f"{there}.bias"][:outputs],
    }
