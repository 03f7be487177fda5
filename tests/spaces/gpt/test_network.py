"""A standalone GPT against a plain implementation of the published network, and what it generates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.spaces.gpt.network import GPTNetwork, Shape
from modnas_fast.spaces.gpt.space import GPTSpace

SPACE, VOCABULARY = GPTSpace("small"), 11
SHAPE = Shape(32, (2, 3), (2, 4), True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(shape: Shape = SHAPE, seed: int = 0) -> GPTNetwork:
    """With weights that are all far from 0, biases and norms among them."""
    network = GPTNetwork(shape, VOCABULARY, 16).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed), dtype=torch.float64) * 0.3)
    return network


def plain(weights: dict[str, Tensor], shape: Shape, ids: Tensor, head_size: int = 16) -> Tensor:
    """Logits [L, V] of ids [L], token by token and head by head, from the official keys."""

    def linear(name: str, x: Tensor) -> Tensor:
        y = weights[f"{name}.weight"] @ x
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def norm(name: str, x: Tensor) -> Tensor:
        y = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
        return y * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def rope(x: Tensor, place: int) -> Tensor:
        rotary, turned = head_size // 2, x.clone()
        for i in range(rotary // 2):
            angle = place / 10_000 ** (2 * i / rotary)
            a, b = x[i], x[i + rotary // 2]
            turned[i] = a * math.cos(angle) - b * math.sin(angle)
            turned[i + rotary // 2] = b * math.cos(angle) + a * math.sin(angle)
        return turned

    xs = [weights["transformer.wte.weight"][token] for token in ids.tolist()]
    for layer, heads in enumerate(shape.heads):
        at = f"transformer.h.{layer}"
        fused = [linear(f"{at}.attn.attn", norm(f"{at}.norm_1", x)).view(heads, 3, head_size) for x in xs]
        outs = []
        for place, x in enumerate(xs):
            parts = []
            for head in range(heads):
                q = rope(fused[place][head, 0], place)
                scores = torch.stack([q @ rope(fused[j][head, 1], j) for j in range(place + 1)]) / math.sqrt(head_size)
                parts.append(sum(w * fused[j][head, 2] for j, w in enumerate(scores.softmax(0))))
            attended = linear(f"{at}.attn.proj", torch.cat(parts))
            inner = linear(f"{at}.mlp.fc", norm(f"{at}.norm_2", x))
            inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
            outs.append(x + attended + linear(f"{at}.mlp.proj", inner))
        xs = outs
    return torch.stack([weights["transformer.wte.weight"] @ norm("transformer.ln_f", x) for x in xs])


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_published_network(bias: bool) -> None:
    shape = SHAPE._replace(bias=bias)
    network, ids = made(shape), torch.randint(VOCABULARY, (2, 5), generator=seeded(1))
    weights = {name: value.detach() for name, value in network.state_dict().items()}
    assert weights["lm_head.weight"].data_ptr() == weights["transformer.wte.weight"].data_ptr()
    wanted = torch.stack([plain(weights, shape, row) for row in ids])
    torch.testing.assert_close(network(ids), wanted, atol=1e-12, rtol=1e-10)


def test_a_token_changes_nothing_before_it() -> None:
    network, ids = made(), torch.randint(VOCABULARY, (1, 8), generator=seeded(1))
    changed = ids.clone()
    changed[0, 5] = (changed[0, 5] + 1) % VOCABULARY
    before, after = network(ids), network(changed)
    assert torch.equal(before[:, :5], after[:, :5]) and not torch.allclose(before[:, 5:], after[:, 5:])


def test_kept_keys_and_values_change_nothing() -> None:
    network, ids = made(), torch.randint(VOCABULARY, (2, 9), generator=seeded(1))
    whole, cache, parts = network(ids), None, []
    for start, end in ((0, 4), (4, 5), (5, 9)):
        logits, cache = network._logits(ids[:, start:end], cache)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-12, rtol=1e-10)


def test_generated_tokens_are_the_most_probable_or_drawn() -> None:
    network, prompt = made(), torch.tensor([[3, 1], [0, 2]])
    greedy = network.generate(prompt, 6, temperature=0)
    for length in range(2, 8):
        assert torch.equal(network(greedy[:, :length])[:, -1].argmax(-1), greedy[:, length])
    assert torch.equal(network.generate(prompt, 6, top=1, generator=seeded()), greedy)
    drawn = network.generate(prompt, 30, generator=seeded(3))
    assert torch.equal(drawn, network.generate(prompt, 30, generator=seeded(3)))
    assert drawn.shape == (2, 32) and torch.equal(drawn[:, :2], prompt) and int(drawn.max()) < VOCABULARY
    for bad in ({"count": -1}, {"count": 1, "temperature": -1.0}, {"count": 1, "top": 0}):
        with pytest.raises(ValueError, match="out of range"):
            network.generate(prompt, **bad)
    with pytest.raises(ValueError, match="at least one token"):
        network.generate(prompt[:, :0], 1)


def test_weights_begin_as_in_gpt2() -> None:
    torch.manual_seed(0)
    network = GPTNetwork(Shape(96, (4,) * 4, (6,) * 4, True), 500, 16)
    weights = network.state_dict()
    assert float(weights["transformer.wte.weight"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(weights["transformer.h.0.mlp.proj.weight"].std()) == pytest.approx(0.02 / 8**0.5, rel=0.05)
    assert all(not value.any() for name, value in weights.items() if name.endswith("bias"))
    assert all(bool((value == 1).all()) for name, value in weights.items() if "norm" in name and "weight" in name)


def test_it_is_exported_and_compiled_whole() -> None:
    network, ids = GPTNetwork(SHAPE, VOCABULARY, 16).eval(), torch.randint(VOCABULARY, (1, 6), generator=seeded(1))
    exported = torch.export.export(network, (ids,)).module()
    torch.testing.assert_close(exported(ids), network(ids))
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")  # a break in the graph is an error
    torch.testing.assert_close(compiled(ids), network(ids))
    assert isinstance(network, nn.Module)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_short_formats_are_a_few_roundings_off(dtype: torch.dtype) -> None:
    network, ids = made(), torch.randint(VOCABULARY, (2, 20), generator=seeded(1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.to(dtype))  # what is left is the rounding of activations
        true = network(ids)
        found = network.to(dtype)(ids)
    assert found.dtype == dtype
    # every layer rounds what it adds to the residual and the last product sums 32 of its numbers
    assert float((found.double() - true).abs().max()) <= 8 * torch.finfo(dtype).eps * float(true.abs().max())


def test_gradients_in_bfloat16_point_the_same_way() -> None:
    ids, found = torch.randint(VOCABULARY, (2, 20), generator=seeded(1)), []
    for dtype in (torch.float64, torch.bfloat16):
        network = made().to(torch.bfloat16).to(dtype)
        network(ids).float().logsumexp(-1).mean().backward()
        found.append(torch.cat([parameter.grad.flatten().double() for parameter in network.parameters()]))
    assert float(torch.cosine_similarity(*found, dim=0)) > 0.99
