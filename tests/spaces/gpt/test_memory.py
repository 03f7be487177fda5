"""The stated memory of a pass beside what autograd really keeps, and how many networks are taken at a time."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.gpt import memory
from modnas_fast.spaces.gpt.memory import Pass, activation_bytes, networks_at_a_time, plan
from modnas_fast.spaces.gpt.scales import SCALES
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.supernet import GPTSupernet
from modnas_fast.supernets.passes import frozen

SPACE, VOCABULARY, TOKENS = GPTSpace("small"), 50, (8, 64)


def small() -> GPTSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPTSupernet(SPACE, VOCABULARY)


def kept_bytes(supernet: GPTSupernet, sample: Tensor, **how: bool) -> int:
    """Bytes of the distinct pieces of memory that autograd keeps, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = torch.arange(TOKENS[0] * TOKENS[1]).view(TOKENS) % VOCABULARY
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        supernet(x, sample, x, **how)
    ids = {x.untyped_storage().data_ptr()}
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in parameters | ids)


def given(prefixes: bool = True, by_weights: bool = True, tokens: tuple[int, int] = TOKENS) -> Pass:
    return Pass(SPACE.scale, *tokens, VOCABULARY, 4, prefixes, by_weights)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("by_weights", [False, True], ids=["by samples", "by weights"])
@pytest.mark.parametrize("prefixes", [False, True], ids=["masks", "prefixes"])
def test_no_network_keeps_more_than_stated_and_the_largest_little_less(
    prefixes: bool, by_weights: bool, recompute: bool
) -> None:
    supernet, found = small(), []
    stated, _ = activation_bytes(given(prefixes, by_weights), recompute)
    smallest, largest = SPACE.references[:2]
    for text in (largest, smallest, *SPACE.references[2:6]):
        sample = SPACE.encode([SPACE.parse(text)])
        with nullcontext() if by_weights else frozen(supernet):
            sample.requires_grad_(not by_weights)
            found.append(kept_bytes(supernet, sample, hard=prefixes, recompute=recompute))
    assert max(found) <= stated
    if prefixes or not recompute:  # torch's own recomputation holds the inputs of layers out of sight
        assert found[0] > 0.75 * stated
    assert not prefixes or found[1] < 0.3 * stated


def test_the_formula_by_hand() -> None:
    rows, (width, heads, channels, hidden) = 8 * 64, (96, 6, 96, 384)
    of_layer = rows * (2 * width + 4 * channels + 2 * hidden + heads + 2)
    kept, _ = activation_bytes(given())
    assert kept == 4 * (4 * of_layer + rows * (5 * width + 2) + VOCABULARY * width)
    again, _ = activation_bytes(given(), recompute=True)
    assert again == kept - 4 * 4 * (of_layer - rows * width)


@pytest.mark.parametrize("prefixes", [False, True], ids=["masks", "prefixes"])
def test_what_is_taken_at_a_time_fits(prefixes: bool) -> None:
    chunks, large = [], given(prefixes, tokens=(16, 64))
    for free in (4 * 10**7, 10**8, 3 * 10**8, 10**12, None):
        chosen = plan(large, 13, free)
        kept, working = activation_bytes(large, chosen.recompute)
        chunks.append(chosen.chunk)
        if free is not None:
            assert chosen.chunk * kept + working * (1 if prefixes else chosen.chunk) <= memory.SHARE * free
    assert chunks == sorted(chunks) and chunks[0] == 1
    # on a CPU more than the caches hold gain nothing
    assert chunks[-2:] == ([2, 2] if prefixes else [13, 13])


def test_parts_worked_on_at_a_time_share_the_memory() -> None:
    for free in (10**8, 10**12):
        assert plan(given(), 13, free, workers=2).chunk == min(7, plan(given(), 13, free // 2).chunk)


def test_layers_are_computed_once_more_before_giving_up() -> None:
    kept, working = activation_bytes(given())
    assert plan(given(), 13, int(1.3 * (kept + working))) == (1, False)
    less, more = activation_bytes(given(), recompute=True)
    assert plan(given(), 13, int((less + more) / 0.8) + 10) == (1, True)
    message = r"search.batch_size: one network on 8 × 64 tokens takes up to .* GB, of which .* GB are free; lower it"
    with pytest.raises(InputError, match=message):
        plan(given(), 13, working)


def test_as_many_are_predicted_at_a_time_as_fit() -> None:
    assert networks_at_a_time(given(), None) == networks_at_a_time(given(), 10**12) == memory.EVALUATED_TOGETHER
    masks = given(prefixes=False)
    assert 1 <= networks_at_a_time(masks, 2 * 10**7) < networks_at_a_time(masks, 10**8)
    with pytest.raises(InputError, match=r"evaluation.batch_size: the quality of a network on 8 × 64 tokens"):
        networks_at_a_time(given(), 10**5)


def test_the_published_scales_tell_what_they_take() -> None:
    """A supernet says how it computes: hard samples with prefixes on a CPU, soft ones with masks."""
    supernet, x = small(), torch.zeros(TOKENS, dtype=torch.long)
    assert supernet.plan(x, 8, "weights", None) == plan(given(), 8, None)
    assert supernet.plan(x, 8, "soft", None) == plan(given(prefixes=False, by_weights=False), 8, None)
    assert supernet.networks_at_a_time(x.to("meta"), 10**12) == memory.EVALUATED_TOGETHER
    sizes = [activation_bytes(given()._replace(scale=scale))[0] for scale in SCALES.values()]
    assert sizes == sorted(sizes)
