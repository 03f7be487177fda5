"""Pretrained supernets of fairseq: every network that is cut out of them, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from spaces.hat.test_network import plain
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.network import Shape
from modnas_fast.spaces.hat.space import HATSpace

V, INNER, E, D, F = 11, 8, 12, 10, 6
SPACE = HATSpace(
    "space0", encoder_widths=(8, E), decoder_widths=(6, D), encoder_depths=(3,), decoder_depths=(1, 2), inner=INNER,
    encoder_ffns=(4, F), decoder_ffns=(4, F), encoder_heads=(2, 4), decoder_heads=(2, 4), cross_heads=(2, 4),
)  # fmt: skip


def official() -> dict[str, Tensor]:
    """Weights of the largest network by fairseq's keys and shapes."""
    shapes: dict[str, tuple[int, ...]] = {"encoder.embed_tokens.weight": (V, E)}
    for side, width, layers in (("encoder", E, 3), ("decoder", D, 2)):
        for layer in range(layers):
            at = f"{side}.layers.{layer}"
            attentions = {"self_attn": width, **({"encoder_attn": max(D, E)} if side == "decoder" else {})}
            for name, inputs in attentions.items():
                shapes |= {
                    f"{at}.{name}.in_proj_weight": (3 * INNER, inputs),
                    f"{at}.{name}.in_proj_bias": (3 * INNER,),
                }
                shapes |= {f"{at}.{name}.out_proj.weight": (width, INNER), f"{at}.{name}.out_proj.bias": (width,)}
                shapes |= {f"{at}.{name}_layer_norm.{kind}": (width,) for kind in ("weight", "bias")}
            shapes |= {f"{at}.fc1.weight": (F, width), f"{at}.fc1.bias": (F,)}
            shapes |= {f"{at}.fc2.weight": (width, F), f"{at}.fc2.bias": (width,)}
            shapes |= {f"{at}.final_layer_norm.{kind}": (width,) for kind in ("weight", "bias")}
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {**weights, "decoder.embed_tokens.weight": weights["encoder.embed_tokens.weight"].clone()}


def written(path: Path, weights: dict[str, Tensor]) -> str:
    """As fairseq writes it: options beside the weights, and things that are none."""
    beside = {"encoder.version": torch.tensor([3.0]), "decoder.embed_positions._float_tensor": torch.zeros(1)}
    torch.save({"args": Namespace(arch="transformersuper"), "model": {**weights, **beside}, "epoch": 3}, path)
    return str(path)


def cut(weights: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """What the facts say of a network's share, by the names of a standalone network."""
    e, d = shape.encoder_width, shape.decoder_width
    found = {"embed_tokens.weight": weights["encoder.embed_tokens.weight"]}
    for side, width, ffns in (("encoder", e, shape.encoder_ffns), ("decoder", d, shape.decoder_ffns)):
        for layer, ffn in enumerate(ffns):
            there, here = f"{side}.layers.{layer}", f"{side}.{layer}"
            own = {name.removeprefix(there + "."): value for name, value in weights.items() if name.startswith(there)}
            parts = {
                "self_attn.in_proj.weight": own["self_attn.in_proj_weight"][:, :width],
                "self_attn.in_proj.bias": own["self_attn.in_proj_bias"],
                "fc1.weight": own["fc1.weight"][:ffn, :width], "fc1.bias": own["fc1.bias"][:ffn],
                "fc2.weight": own["fc2.weight"][:width, :ffn], "fc2.bias": own["fc2.bias"][:width],
            }  # fmt: skip
            names = ["self_attn.out_proj", "self_attn_layer_norm", "final_layer_norm"]
            if side == "decoder":
                matrix, bias = own["encoder_attn.in_proj_weight"], own["encoder_attn.in_proj_bias"]
                parts |= {"encoder_attn.q_proj.weight": matrix[:INNER, :d], "encoder_attn.q_proj.bias": bias[:INNER]}
                parts |= {"encoder_attn.kv_proj.weight": matrix[INNER:, :e], "encoder_attn.kv_proj.bias": bias[INNER:]}
                names += ["encoder_attn.out_proj", "encoder_attn_layer_norm"]
            parts |= {f"{name}.{kind}": own[f"{name}.{kind}"][:width] for name in names for kind in ("weight", "bias")}
            found |= {f"{here}.{name}": value for name, value in parts.items()}
    return {name: value.double() for name, value in found.items()}


def test_every_network_gives_what_the_plain_implementation_gives(tmp_path: Path) -> None:
    weights = official()
    path = written(tmp_path / "checkpoint_best.pt", weights)
    shared = SPACE.supernet(checkpoint=path, vocabulary=V).double()
    pairs = torch.randint(3, V, (2, 2, 5), generator=torch.Generator().manual_seed(1))
    onehot = SPACE.sample(20, torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        found = shared.predict(pairs, onehot)
    for architecture, logits in zip(SPACE.decode(onehot), found):
        shape = SPACE.shape(architecture.indices)
        own = cut(weights, shape)
        wanted = torch.stack([plain(own, shape, INNER, (E, D), *pair.tolist()) for pair in pairs])
        torch.testing.assert_close(logits, wanted, atol=1e-10, rtol=1e-8)
        standalone = SPACE.build(architecture, vocabulary=V).double().eval()
        standalone.load_state_dict(SPACE.inherited(shared.state_dict(), architecture))
        torch.testing.assert_close(standalone(pairs), wanted, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("decoder.layers.1.fc1.bias", None, "lacks decoder.layers.1.fc1.bias; is it of this space.scale"),
        ("encoder.layers.9.fc1.bias", torch.zeros(6), "has encoder.layers.9.fc1.bias, which this space has not"),
        (
            "encoder.layers.0.fc2.weight",
            torch.zeros(2, 2),
            r"encoder.layers.0.fc2.weight is \[2, 2\], this space wants",
        ),
        ("encoder.embed_tokens.weight", torch.zeros(5, E), "has a vocabulary of 5 tokens, the texts have 11"),
        ("decoder.embed_tokens.weight", torch.zeros(V, E), "decoder.embed_tokens.weight is not encoder.embed_tokens"),
    ],
)
def test_files_that_are_none_of_this_space(tmp_path: Path, name: str, change: Tensor | None, told: str) -> None:
    weights = official()
    weights.pop(name, None)
    if change is not None:
        weights[name] = change
    with pytest.raises(InputError, match=told):
        SPACE.supernet(checkpoint=written(tmp_path / "other.pt", weights), vocabulary=V)
