"""A standalone network's weights out of the shared ones, which have the official names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from modnas_fast.spaces.gpt.network import Shape


def inherited(shared: Mapping[str, Tensor], shape: Shape, head_size: int) -> dict[str, Tensor]:
    """The weights of `GPTNetwork`: of every shared weight the prefix that the network uses.

    Args:
        shared: by the names that a `GPTSupernet` or an official checkpoint has.
        shape: of the network.
        head_size: d_h.
    """
    width = shape.width
    embedding = shared["transformer.wte.weight"][:, :width]
    found = {"transformer.wte.weight": embedding, "lm_head.weight": embedding}
    norms = ["transformer.ln_f"]
    for number, (ratio, heads) in enumerate(zip(shape.ratios, shape.heads, strict=True)):
        layer, channels = f"transformer.h.{number}", heads * head_size
        norms += [f"{layer}.norm_1", f"{layer}.norm_2"]
        linears = {
            f"{layer}.attn.attn": (3 * channels, width),
            f"{layer}.attn.proj": (width, channels),
            f"{layer}.mlp.fc": (ratio * width, width),
            f"{layer}.mlp.proj": (width, ratio * width),
        }
        for name, (outputs, inputs) in linears.items():
            found[f"{name}.weight"] = shared[f"{name}.weight"][:outputs, :inputs]
            if shape.bias:
                found[f"{name}.bias"] = shared[f"{name}.bias"][:outputs]
    found |= {f"{norm}.{part}": shared[f"{norm}.{part}"][:width] for norm in norms for part in ("weight", "bias")}
    return {name: tensor.detach().clone() for name, tensor in found.items()}
