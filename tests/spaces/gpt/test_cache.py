"""Keys and values that are kept: their memory, made-up ones for measuring, and what a further token's time is of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modnas_fast.devices.metric import ExactCosts, find_metric
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.tasks.language import further_token

SPACE = GPTSpace("small", widths=(8, 16), heads=(1, 2), head_size=8)
TOLD = {"input_shape": (6,), "vocabulary": 11}


def some(count: int) -> torch.Tensor:
    return SPACE.canonical(SPACE.sample(count, torch.Generator().manual_seed(0)))


def test_the_memory_is_that_of_the_cache_at_the_end_of_a_sample() -> None:
    onehot = some(20)
    costs = ExactCosts(SPACE, ["cache_memory"], lambda: TOLD)(onehot)["cache_memory"]
    for architecture, value in zip(SPACE.decode(onehot), costs.tolist()):
        network = SPACE.build(architecture, vocabulary=11)
        _, cache = network.continued(torch.zeros(1, 6, dtype=torch.int64), None)
        kept = sum(tensor.nbytes for pair in cache for tensor in pair)
        assert value == pytest.approx(kept / 1e6, rel=1e-12)
        assert find_metric("cache_memory")(network, (6,)) == pytest.approx(value, rel=1e-12)
    with pytest.raises(InputError, match="a Linear has no cache_memory; leave it out"):
        find_metric("cache_memory")(nn.Linear(1, 1), (6,))


def test_the_memory_has_a_gradient() -> None:
    sample = torch.rand(2, SPACE.num_options, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda s: 1e3 * SPACE.analytic(s, **TOLD)["cache_memory"], sample.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_made_up_caches_look_like_true_ones(dtype: torch.dtype) -> None:
    network = SPACE.build(SPACE.decode(some(1))[0], vocabulary=11).to(dtype)
    _, true = network.continued(torch.zeros(3, 5, dtype=torch.int64), None)
    made = network.made_up_cache(3, 5)
    assert [[t.shape for t in pair] for pair in made] == [[t.shape for t in pair] for pair in true]
    assert all(t.dtype == dtype and t.is_contiguous() and t.std() > 0.5 for pair in made for t in pair)


def test_a_further_token_is_that_of_a_sample_continued() -> None:
    network = SPACE.build(SPACE.decode(some(1))[0], vocabulary=11)
    ids = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(1))
    _, cache = network.continued(ids[:, 1:], None)
    network.made_up_cache = lambda count, seen: cache if (count, seen) == (3, 5) else None
    call = further_token(network, ids, seen=5)
    for _ in range(2):  # it can be made again
        logits, longer = call()
        assert torch.equal(logits, network.continued(ids[:, :1], cache)[0]) and logits.shape == (3, 1, 11)
        assert longer[0][0].shape[2] == 6 and cache[0][0].shape[2] == 5
    with pytest.raises(InputError, match="a Linear does not generate token by token .*; leave token_latency out"):
        further_token(nn.Linear(1, 1), ids, 5)
