"""Pretrained supernets: files with official keys, every network that is cut out of them, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from spaces.gpt.test_network import plain
from torch import Tensor

from modnas_fast.runtime.checkpoint import save_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.gpt.space import GPTSpace

SPACE = GPTSpace("small", widths=(8, 16), depths=(1, 2), ratios=(2, 3), heads=(1, 2), head_size=8)
V, E, H, D = 9, 16, 2, 8


def official(prefix: str = "") -> dict[str, Tensor]:
    """Weights of the largest network by the official keys and shapes."""
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, E)}
    for layer in range(2):
        at = f"transformer.h.{layer}"
        for name, outputs, inputs in (
            ("attn.attn", 3 * H * D, E), ("attn.proj", E, H * D), ("mlp.fc", 3 * E, E), ("mlp.proj", E, 3 * E),
        ):  # fmt: skip
            shapes |= {f"{at}.{name}.weight": (outputs, inputs), f"{at}.{name}.bias": (outputs,)}
        for norm in ("norm_1", "norm_2"):
            shapes |= {f"{at}.{norm}.weight": (E,), f"{at}.{norm}.bias": (E,)}
    shapes |= {"transformer.ln_f.weight": (E,), "transformer.ln_f.bias": (E,)}
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
    return {prefix + name: value for name, value in weights.items()}


def cut(weights: dict[str, Tensor], width: int, ratios: tuple[int, ...], heads: tuple[int, ...], bias: bool):
    """What the facts say of a network's share: rows and columns by prefix, layer by layer."""
    found = {"transformer.wte.weight": weights["transformer.wte.weight"][:, :width]}
    for layer, (ratio, count) in enumerate(zip(ratios, heads)):
        at = f"transformer.h.{layer}"
        for name, outputs, inputs in (
            ("attn.attn", 3 * count * D, width), ("attn.proj", width, count * D),
            ("mlp.fc", ratio * width, width), ("mlp.proj", width, ratio * width),
        ):  # fmt: skip
            found[f"{at}.{name}.weight"] = weights[f"{at}.{name}.weight"][:outputs, :inputs]
            if bias:
                found[f"{at}.{name}.bias"] = weights[f"{at}.{name}.bias"][:outputs]
        for norm in ("norm_1", "norm_2"):
            found |= {f"{at}.{norm}.{kind}": weights[f"{at}.{norm}.{kind}"][:width] for kind in ("weight", "bias")}
    found |= {f"transformer.ln_f.{kind}": weights[f"transformer.ln_f.{kind}"][:width] for kind in ("weight", "bias")}
    return found


def written(path: Path, content: Any) -> str:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pt", official()),
        ("a.pth", official("_forward_module.")),
        ("a.ckpt", {"state_dict": official("model."), "step": 3}),
        ("a.bin", {"model": official("_forward_module.model.")}),
        ("a.safetensors", official("model.")),
        ("b.safetensors", {name: value for name, value in official().items() if name != "lm_head.weight"}),
    ],
)
def test_every_network_of_an_official_checkpoint(tmp_path: Path, name: str, content: Any) -> None:
    supernet = SPACE.supernet(vocabulary=V, checkpoint=written(tmp_path / name, content))
    ids = torch.tensor([[3, 0, 8, 1]])
    onehot = SPACE.sample(10, torch.Generator().manual_seed(1))
    outputs = supernet.predict(ids, onehot)
    for row, indices in zip(outputs, SPACE.indices(onehot).tolist()):
        shape = SPACE.shape(indices)
        weights = {key: value.double() for key, value in cut(official(), *shape).items()}
        wanted = plain(weights, shape, ids[0], D)
        torch.testing.assert_close(row[0].double(), wanted, atol=2e-5, rtol=2e-5)


def test_what_a_run_left_is_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    supernet = SPACE.supernet(vocabulary=V)
    save_weights(tmp_path / "supernet.safetensors", supernet)
    again = SPACE.supernet(vocabulary=V, checkpoint=str(tmp_path / "supernet.safetensors"))
    assert all(torch.equal(value, supernet.state_dict()[name]) for name, value in again.state_dict().items())
    assert again.lm_head.weight is again.transformer.wte.weight


def changed(key: str, value: Tensor | None) -> dict[str, Tensor]:
    weights = {**official(), key: value}
    return {name: tensor for name, tensor in weights.items() if tensor is not None}


KEY = "transformer.h.1.mlp.fc.weight"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (changed(KEY, None), f"lacks {KEY}"),
        (changed("transformer.h.2.norm_1.bias", torch.zeros(E)), "has transformer.h.2.norm_1.bias, which"),
        (changed(KEY, torch.zeros(E, E)), rf"{KEY} is \[16, 16\], this space wants \[48, 16\]; see space.scale"),
        (changed(KEY, torch.full((3 * E, E), torch.nan)), f"{KEY} has values that are no finite numbers"),
        (changed(KEY, torch.zeros(3 * E, E, dtype=torch.int64)), f"{KEY} has values that are no finite numbers"),
        (changed("lm_head.weight", torch.zeros(V, E)), "lm_head.weight is not transformer.wte.weight"),
        (changed("transformer.wte.weight", torch.zeros(V + 1, E)), "a vocabulary of 10 tokens, the texts have 9"),
        ({"state_dict": {}}, "holds a dict, wanted weights by their keys"),
        ({"step": 3}, "lacks transformer.wte.weight"),
        ([1, 2], "holds a list, wanted weights"),
    ],
)
def test_what_is_no_supernet_of_this_space(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(InputError, match=f"space.checkpoint: .*a.pt: .*{told}") as error:
        SPACE.supernet(vocabulary=V, checkpoint=written(tmp_path / "a.pt", content))
    assert len(str(error.value).splitlines()) == 1


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm"),)


def test_files_that_are_no_weights_and_nothing_in_them_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"lm_head.weight": Harm()}, tmp_path / "harm.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harm()))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "harm.pt").read_bytes()[:100])
    (tmp_path / "text.safetensors").write_text("weights")
    (tmp_path / "empty.pt").touch()
    for name in ("harm.pt", "plain.pt", "cut.pt", "text.safetensors", "empty.pt"):
        with pytest.raises(InputError, match=f"{name}: holds no plain weights"):
            SPACE.supernet(vocabulary=V, checkpoint=str(tmp_path / name))
    assert not (tmp_path / "harm").exists()
    with pytest.raises(InputError, match=r"nowhere.pt does not exist"):
        SPACE.supernet(vocabulary=V, checkpoint="nowhere.pt")
