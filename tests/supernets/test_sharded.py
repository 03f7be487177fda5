"""Weights that ranks hold in parts, as far as one process shows it; tests/distributed has the ranks."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.config import make_config
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.ranks import ALONE
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.sharded import ShardedPasses, gathered, load_optimizer_, shard_

SIZES = {"widths": (8, 16), "depths": (1, 2), "ratios": (2, 3), "heads": (1, 2), "head_size": 8}


def test_passes_in_parts_are_those_by_prefixes() -> None:
    """Losses, gradients by samples, and gradients by weights of which each sample has its own share."""
    torch.manual_seed(0)
    space = GPTSpace("small", **SIZES)
    whole = space.supernet(vocabulary=13).double()
    parts = space.supernet(vocabulary=13).double()
    parts.load_state_dict(whole.state_dict())
    shard_(parts, ALONE, "cpu")
    onehot = space.sample(3, torch.Generator().manual_seed(1)).double()
    tokens = torch.randint(13, (2, 6))
    x, y = tokens[:, :-1], tokens[:, 1:]
    found = []
    for passes in (Passes(whole), ShardedPasses(parts)):
        leaf = onehot.clone().requires_grad_()
        losses = passes.device_losses(x, leaf, y, 2, hard=True)
        found.append((losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert all(weight.grad is None for weight in parts.parameters())
    for row in range(2):
        Passes(whole).add_weight_gradients(x, onehot[row : row + 1], y, weight=(row + 1) / 3, hard=True)
    shares = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)  # the last one fills up a rank
    ShardedPasses(parts).add_weight_gradients(x, onehot, y, 2, weight=shares, hard=True)
    for (name, one), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        wanted = torch.zeros_like(one) if one.grad is None else one.grad
        torch.testing.assert_close(other.grad, wanted, rtol=1e-10, atol=1e-12, msg=name)


def test_a_supernet_without_layers_is_refused_in_one_line() -> None:
    supernet = NB201Space().supernet(image_channels=3, classes=10, channels=2, cells=1)
    with pytest.raises(InputError, match="search.shard: NB201Supernet names no layers .*; set it to false"):
        shard_(supernet, ALONE, "cpu")


def test_distillation_is_refused_with_parts() -> None:
    with pytest.raises(InputError, match="search.shard: outputs of the largest network cannot be kept"):
        make_config(search={"shard": True, "sandwich": True, "distillation": 0.5})


def test_a_tree_of_whole_tensors_stays_as_it_is() -> None:
    weight = torch.ones(2)
    tree = {"a": [weight, 3], "b": {"c": weight}}
    found = gathered(tree, keep=True)
    assert found["a"][0].data_ptr() == found["b"]["c"].data_ptr() == weight.data_ptr() and found["a"][1] == 3
    parameter = torch.nn.Parameter(torch.ones(2))
    first, second = (torch.optim.AdamW([parameter], 0.1) for _ in range(2))
    parameter.grad = torch.ones(2)
    first.step()
    load_optimizer_(second, gathered(first.state_dict(), keep=True))
    torch.testing.assert_close(second.state[parameter], first.state[parameter])
