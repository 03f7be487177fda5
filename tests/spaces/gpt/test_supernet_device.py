"""The GPT supernet on a GPU that is not there: nothing waits for it, and passes may be captured."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from stand_in_gpu import GPU, StandInGraphs, stand_in_gpu
from torch import Tensor

from modnas_fast.spaces.gpt import memory
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.supernet import GPTSupernet
from modnas_fast.supernets.captured import CapturedPasses
from modnas_fast.supernets.passes import Passes

SPACE, VOCABULARY = GPTSpace("small", widths=(8, 16), depths=(1, 2), heads=(1, 2), ratios=(1, 2), head_size=8), 13


def made() -> GPTSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPTSupernet(SPACE, VOCABULARY)


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCABULARY, (2, 7), generator=generator)
    return tokens[:, :-1], SPACE.sample(3, generator), tokens[:, 1:]


@pytest.mark.parametrize("hard", [True, None])
def test_no_pass_waits_for_the_gpu(hard: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch knows no autocast on the stand-in
    monkeypatch.setattr(import_module("modnas_fast.supernets.entangled_linear"), "_cast", lambda *tensors: tensors)
    supernet, (x, onehot, y) = made(), batch()
    with stand_in_gpu(may_wait=True):
        supernet.to(GPU)
        x, onehot, y = (tensor.to(GPU) for tensor in (x, onehot, y))
        supernet._options(supernet.embed(x))  # made once
    with stand_in_gpu():
        passes, samples = Passes(supernet), onehot.detach().requires_grad_()
        losses = passes.device_losses(x, samples, y, hard=hard)
        (gradient,) = torch.autograd.grad(losses.sum(), samples)
        passes.add_weight_gradients(x, onehot, y, hard=hard)
        assert gradient.shape == onehot.shape and gradient.device == GPU
        assert all(parameter.grad is not None for parameter in supernet.parameters())
        assert supernet.plan(x, 3, "weights", 10**12).chunk == 3


def test_captured_passes_are_the_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for graphs, and computed as on a GPU."""
    monkeypatch.setattr(GPTSupernet, "_takes_prefixes", False)
    graphs = StandInGraphs.instead_of_cuda(monkeypatch)
    supernets = made().double(), made().double()
    assert supernets[0].capturable
    both = CapturedPasses(supernets[0]), Passes(supernets[1])
    for seed in range(3):
        x, onehot, y = batch(seed)
        samples = [onehot.double().requires_grad_() for _ in both]
        losses = [passes.device_losses(x, own, y, hard=True) for passes, own in zip(both, samples)]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), own)[0] for loss, own in zip(losses, samples)))
        for net, passes in zip(supernets, both):
            net.zero_grad(set_to_none=True)
            passes.add_weight_gradients(x, onehot.double(), y, hard=True)
        for first, second in zip(*(net.parameters() for net in supernets), strict=True):
            torch.testing.assert_close(first.grad, second.grad)
            first.data.sub_(0.1 * first.grad)
            second.data.sub_(0.1 * second.grad)
    assert len(graphs.captured) == 2


def test_on_a_gpu_memory_is_that_of_the_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GPTSupernet, "_takes_prefixes", False)
    x = torch.zeros(2, 6, dtype=torch.long)
    given = memory.Pass(SPACE.scale, 2, 6, VOCABULARY, 4, prefixes=False, by_weights=True)
    assert made().plan(x, 5, "weights", 10**12) == memory.plan(given, 5, 10**12)
