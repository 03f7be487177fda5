"""A standalone encoder-decoder against a plain implementation of the published network, and what it translates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modnas_fast.spaces.hat.beam import beam_search
from modnas_fast.spaces.hat.network import END, PADDING, HATNetwork, Shape

VOCABULARY, INNER = 13, 16
SHAPE = Shape(12, (20, 8, 12), (2, 4, 2), 8, (6, 10), (4, 2), (2, 4), (3, 1))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(shape: Shape = SHAPE, seed: int = 0) -> HATNetwork:
    """With weights that are all far from 0, biases and norms among them."""
    network = HATNetwork(shape, VOCABULARY, INNER, (14, 14)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed), dtype=torch.float64) * 0.4)
            seed += 1
    return network.eval()


def sentences(count: int, length: int, seed: int = 1) -> Tensor:
    return torch.randint(3, VOCABULARY, (count, length), generator=seeded(seed))


# ---- a plain implementation of a single sentence, token by token ----


def plain_norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean = x.sum(-1, keepdim=True) / x.shape[-1]
    variance = ((x - mean) ** 2).sum(-1, keepdim=True) / x.shape[-1]
    return (x - mean) / (variance + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def plain_linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def plain_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool) -> Tensor:
    size, rows = q.shape[1] // heads, []
    for place in range(len(q)):
        seen = place + 1 if causal else len(k)
        heads_of_row = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = k[:seen, part] @ q[place, part] / math.sqrt(size)
            heads_of_row.append(scores.softmax(0) @ v[:seen, part])
        rows.append(torch.cat(heads_of_row))
    return torch.stack(rows)


def plain_embedding(ids: list[int], weights: dict[str, Tensor], width: int, of_positions: int) -> Tensor:
    rows, half = [], of_positions // 2
    for place, token in enumerate(ids):
        angles = [(place + 2) * math.exp(-i * math.log(10_000) / (half - 1)) for i in range(half)]
        wave = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)
        rows.append(math.sqrt(width) * weights["embed_tokens.weight"][token, :width] + wave[:width])
    return torch.stack(rows)


def plain(
    weights: dict[str, Tensor],
    shape: Shape,
    inner: int,
    positions: tuple[int, int],
    source: list[int],
    before: list[int],
) -> Tensor:
    """Logits of one pair, by the keys of `HATNetwork`; positions: widths of the sinusoids of both sides."""
    x, states = plain_embedding(source, weights, shape.encoder_width, positions[0]), []
    for i, heads in enumerate(shape.encoder_heads):
        at = f"encoder.{i}"
        q, k, v = plain_linear(x, weights, f"{at}.self_attn.in_proj").split(inner, dim=-1)
        attended = plain_linear(plain_attention(q, k, v, heads, False), weights, f"{at}.self_attn.out_proj")
        x = plain_norm(x + attended, weights, f"{at}.self_attn_layer_norm")
        hidden = plain_linear(x, weights, f"{at}.fc1").clamp(min=0)
        x = plain_norm(x + plain_linear(hidden, weights, f"{at}.fc2"), weights, f"{at}.final_layer_norm")
        states.append(x)
    x = plain_embedding(before, weights, shape.decoder_width, positions[1])
    for i, (heads, cross, reach) in enumerate(zip(shape.decoder_heads, shape.cross_heads, shape.reaches)):
        at = f"decoder.{i}"
        q, k, v = plain_linear(x, weights, f"{at}.self_attn.in_proj").split(inner, dim=-1)
        attended = plain_linear(plain_attention(q, k, v, heads, True), weights, f"{at}.self_attn.out_proj")
        x = plain_norm(x + attended, weights, f"{at}.self_attn_layer_norm")
        memory = torch.cat(states[::-1][:reach])  # the last first: the order of keys has no influence
        q = plain_linear(x, weights, f"{at}.encoder_attn.q_proj")
        k, v = plain_linear(memory, weights, f"{at}.encoder_attn.kv_proj").split(inner, dim=-1)
        attended = plain_linear(plain_attention(q, k, v, cross, False), weights, f"{at}.encoder_attn.out_proj")
        x = plain_norm(x + attended, weights, f"{at}.encoder_attn_layer_norm")
        hidden = plain_linear(x, weights, f"{at}.fc1").clamp(min=0)
        x = plain_norm(x + plain_linear(hidden, weights, f"{at}.fc2"), weights, f"{at}.final_layer_norm")
    return x @ weights["embed_tokens.weight"][:, : shape.decoder_width].T


def test_outputs_are_those_of_the_plain_implementation() -> None:
    network, source, before = made(), sentences(3, 6), sentences(3, 6, seed=2)
    found = network(torch.stack([source, before], dim=1))
    weights = network.state_dict()
    wanted = [plain(weights, SHAPE, INNER, (14, 14), *pair) for pair in zip(source.tolist(), before.tolist())]
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-12, rtol=1e-10)


def test_padding_changes_nothing() -> None:
    network, source, before = made(), sentences(1, 4), sentences(1, 3, seed=2)
    pairs = torch.full((2, 2, 7), PADDING)
    pairs[0, 0, :4], pairs[0, 1, :3], pairs[1] = source, before, sentences(2, 7, seed=3)
    alone = torch.full((1, 2, 4), PADDING)
    alone[0, 0], alone[0, 1, :3] = source, before
    torch.testing.assert_close(network(pairs)[0, :3], network(alone)[0, :3], atol=1e-12, rtol=1e-10)
    padded = torch.cat([source, torch.full((1, 3), PADDING)], dim=1)
    for beam in (1, 3):
        assert network.translate(padded, beam=beam, longest=6) == network.translate(source, beam=beam, longest=6)


def test_a_token_of_the_target_changes_nothing_before_it() -> None:
    network, source, before = made(), sentences(1, 5), sentences(1, 5, seed=2)
    changed = before.clone()
    changed[0, 3] = 3 + (changed[0, 3] - 2) % (VOCABULARY - 3)
    first, second = (network(torch.stack([source, target], dim=1)) for target in (before, changed))
    assert torch.equal(first[:, :3], second[:, :3]) and not torch.allclose(first[:, 3:], second[:, 3:])


def rescored(network: HATNetwork, source: Tensor, tokens: list[int]) -> float:
    """Log-probability of a whole translation, its end included, by a full forward pass."""
    before = torch.full((1, max(len(tokens) + 1, source.shape[1])), PADDING)
    before[0, : len(tokens) + 1] = torch.tensor([END, *tokens])
    padded = torch.full_like(before, PADDING)
    padded[0, : source.shape[1]] = source
    logits = network(torch.stack([padded, before], dim=1))[0].detach()
    logits[:, PADDING] = -torch.inf
    chances = logits.log_softmax(-1)
    return sum(float(chances[place, token]) for place, token in enumerate([*tokens, END]))


def test_greedy_translation_takes_the_most_probable_token_of_a_full_pass() -> None:
    network, source = made(), sentences(4, 5)
    for row, tokens in zip(source, network.translate(source, longest=9)):
        before = [END]
        for token in [*tokens, END][:8]:
            pair = torch.full((1, 2, 10), PADDING)
            pair[0, 0, :5], pair[0, 1, : len(before)] = row, torch.tensor(before)
            logits = network(pair)[0, len(before) - 1]
            logits[PADDING] = -torch.inf
            assert int(logits.argmax()) == token
            before.append(token)


def test_a_wide_beam_finds_the_best_translation_of_all() -> None:
    """Vocabulary of 13 and three tokens at most: a beam as wide as the space keeps every candidate."""
    network, source = made(seed=40), sentences(2, 4, seed=5)
    others = [token for token in range(VOCABULARY) if token not in (PADDING, END)]
    every = [[], *([a] for a in others), *([a, b] for a in others for b in others)]
    for row in source:
        best = max(every, key=lambda tokens: rescored(network, row[None], tokens) / (len(tokens) + 1) ** 0.6)
        (found,) = network.translate(row[None], beam=len(every), longest=3)
        assert found == best


@pytest.mark.parametrize(("penalty", "best"), [(0.0, []), (0.6, [1])])
def test_longer_candidates_win_by_their_length(penalty: float, best: list[int]) -> None:
    """Ending at once has probability 0.4, ending behind token 1 has 0.6 · 0.6, which is less as it stands."""
    follows = torch.tensor([[0.4, 0.6], [0.6, 0.4]]).log()  # token 0 ends
    assert beam_search(lambda tokens, order: follows[tokens], 1, 2, 0, 5, penalty) == [best]


def test_bad_requests_are_refused() -> None:
    network = made()
    with pytest.raises(ValueError, match="at least one token"):
        network.translate(sentences(1, 4)[:, :0])
    for bad in ({"beam": 0}, {"longest": 0}):
        with pytest.raises(ValueError, match="wanted at least 1"):
            network.translate(sentences(1, 4), **bad)


def test_it_is_exported_and_runs_in_bfloat16() -> None:
    network = HATNetwork(SHAPE, VOCABULARY, INNER).eval()
    pairs = torch.stack([sentences(2, 6), sentences(2, 6, seed=2)], dim=1)
    exported = torch.export.export(network, (pairs,)).module()
    torch.testing.assert_close(exported(pairs), network(pairs))
    assert network.to(torch.bfloat16)(pairs).dtype == torch.bfloat16
