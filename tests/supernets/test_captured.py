"""Captured passes of a supernet: values and gradients of the plain ones, one capture per combination of shapes."""

from __future__ import annotations

import pytest
import torch
from stand_in_gpu import StandInGraphs
from torch import Tensor

from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.supernet import NB201Supernet
from modnas_fast.supernets.captured import CapturedPasses
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.supernet import cross_entropies

SPACE = NB201Space()
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device to capture graphs on")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> StandInGraphs:
    return StandInGraphs.instead_of_cuda(monkeypatch)


def make_supernet(device: str = "cpu") -> NB201Supernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NB201Supernet(image_channels=1, classes=3, channels=2, cells=1, reduction="pool").to(device)


def batch(seed: int = 0, samples: int = 3, images: int = 8, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 1, 8, 8, generator=generator)
    y = torch.randint(3, (images,), generator=generator)
    return x.to(device), SPACE.sample(samples, generator).to(device), y.to(device)


def assert_same_passes(device: str, chunk: int | None, samples: int = 3) -> None:
    """Over minibatches and updates of the weights: both losses, the gradient by samples, and that by weights."""
    supernets = make_supernet(device), make_supernet(device)
    both = CapturedPasses(supernets[0]), Passes(supernets[1])
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9) for net in supernets]
    for seed in range(4):
        x, onehot, y = batch(seed, samples, device=device)
        leaves = [onehot.clone().requires_grad_() for _ in both]
        losses = [passes.device_losses(x, own, y, chunk, hard=True) for passes, own in zip(both, leaves)]
        gradients = [torch.autograd.grad(loss.sum(), own)[0] for loss, own in zip(losses, leaves)]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*gradients)
        torch.testing.assert_close(*(passes.device_losses(x, onehot, y, chunk) for passes in both))
        for net, passes, optimizer in zip(supernets, both, optimizers):
            optimizer.zero_grad(set_to_none=True)
            passes.add_weight_gradients(x, onehot, y, chunk, hard=True)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
        for first, second in zip(*(net.parameters() for net in supernets), strict=True):
            torch.testing.assert_close(first.grad, second.grad)
            torch.testing.assert_close(first, second)


@pytest.mark.parametrize(("samples", "chunk", "captures"), [(3, None, 3), (3, 2, 6), (4, 2, 3), (4, 1, 3), (5, 2, 6)])
def test_values_and_gradients_are_those_of_the_plain_passes(
    graphs: StandInGraphs, samples: int, chunk: int | None, captures: int
) -> None:
    """Parts of one size are replays of one graph, which overwrite each other's gradients."""
    assert_same_passes("cpu", chunk, samples)
    assert len(graphs.captured) == captures


@needs_gpu
@pytest.mark.parametrize(("samples", "chunk"), [(3, None), (4, 2), (5, 2)])
def test_graphs_give_values_and_gradients_of_the_plain_passes(samples: int, chunk: int | None) -> None:
    assert_same_passes("cuda", chunk, samples)


def test_losses_are_those_of_the_task(graphs: StandInGraphs) -> None:
    def squares(outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs[..., 0] - y).square().mean(dim=1)

    supernet, (x, onehot, y) = make_supernet(), batch()
    captured, plain = CapturedPasses(supernet, squares), Passes(supernet, squares)
    found, wanted = (passes.device_losses(x, onehot, y) for passes in (captured, plain))
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, Passes(supernet).device_losses(x, onehot, y))
    torch.testing.assert_close(captured.add_weight_gradients(x, onehot, y), wanted)
    torch.testing.assert_close(plain.add_weight_gradients(x, onehot, y), wanted)


def test_weights_are_trained_by_the_losses_that_are_for_that(graphs: StandInGraphs) -> None:
    supernet, (x, onehot, y) = make_supernet(), batch()

    def doubled(outputs: Tensor, y: Tensor) -> Tensor:
        return 2 * cross_entropies(outputs, y)

    for kind in (Passes, CapturedPasses):
        passes, gradients = kind(supernet, cross_entropies, doubled), []
        for each in (kind(supernet), passes):
            supernet.zero_grad()
            each.add_weight_gradients(x, onehot, y)
            gradients.append([p.grad.clone() for p in supernet.parameters() if p.grad is not None])
        for plain, trained in zip(*gradients, strict=True):
            torch.testing.assert_close(trained, 2 * plain)
        torch.testing.assert_close(passes.device_losses(x, onehot, y), kind(supernet).device_losses(x, onehot, y))


def test_each_combination_of_shapes_is_captured_once(graphs: StandInGraphs) -> None:
    passes = CapturedPasses(make_supernet())
    for seed in range(2):
        for samples, images in ((3, 8), (2, 8), (3, 4)):
            x, onehot, y = batch(seed, samples, images)
            passes.device_losses(x, onehot, y)
            passes.device_losses(x, onehot.requires_grad_(), y)
            passes.add_weight_gradients(x, onehot, y)
    assert len(graphs.captured) == 9


def test_weights_are_captured_where_they_lie_and_inputs_elsewhere(graphs: StandInGraphs) -> None:
    supernet = make_supernet()
    x, onehot, y = batch()
    CapturedPasses(supernet).add_weight_gradients(x, onehot, y)
    (own,) = graphs.captured
    assert all(mine is not given and torch.equal(mine, given) for mine, given in zip(own, (x, onehot, y)))
    assert all(mine is given for mine, given in zip(own[3:], supernet.parameters(), strict=True))


def test_frozen_weights_get_no_gradient_and_samples_none_from_training(graphs: StandInGraphs) -> None:
    supernet = make_supernet()
    passes = CapturedPasses(supernet)
    x, onehot, y = batch()
    passes.device_losses(x, onehot.requires_grad_(), y).sum().backward()
    assert onehot.grad.any() and all(p.grad is None for p in supernet.parameters())
    onehot.grad = None
    passes.add_weight_gradients(x, onehot, y)
    assert onehot.grad is None and supernet.stem.weight.grad.any()


def test_losses_outlive_the_next_call(graphs: StandInGraphs) -> None:
    passes = CapturedPasses(make_supernet())
    x, onehot, y = batch(0)
    first = passes.device_losses(x, onehot, y)
    kept = first.clone()
    second = passes.device_losses(*batch(1))
    assert torch.equal(first, kept) and not torch.equal(first, second)


def test_gradients_outlive_the_next_call(graphs: StandInGraphs) -> None:
    """Those by samples until they are asked for, those by weights until they are added to."""
    supernet = make_supernet()
    passes, (x, onehot, y) = CapturedPasses(supernet), batch(0)
    one, two = onehot.clone().requires_grad_(), batch(1)[1].requires_grad_()
    first, second = (passes.device_losses(x, own, y, hard=True) for own in (one, two))
    torch.autograd.backward([first.sum(), second.sum()])
    for own in (one, two):
        again = own.detach().clone().requires_grad_()
        (wanted,) = torch.autograd.grad(Passes(supernet).device_losses(x, again, y, hard=True).sum(), again)
        torch.testing.assert_close(own.grad, wanted)
    passes.add_weight_gradients(x, one, y, hard=True)
    kept = [(parameter.grad, parameter.grad.clone()) for parameter in supernet.parameters()]
    supernet.zero_grad(set_to_none=True)
    passes.add_weight_gradients(x, two, y, hard=True)
    assert all(torch.equal(gradient, copy) for gradient, copy in kept)


# ---- what these tests rest on: the stand-in hands out memory that it writes again ----


def test_the_stand_in_overwrites_what_it_has_handed_out(graphs: StandInGraphs) -> None:
    own = torch.ones(2, requires_grad=True)
    replay = torch.cuda.make_graphed_callables(lambda v: v * v, (own,), allow_unused_input=True, pool=graphs.POOL)
    one, two = (torch.full((2,), value, requires_grad=True) for value in (1.0, 3.0))
    first = replay(one)
    first.sum().backward()
    assert first.tolist() == [1, 1] and one.grad.tolist() == [2, 2]
    replay(two).sum().backward()
    assert first.tolist() == [9, 9] and one.grad.tolist() == [6, 6]


def test_the_stand_in_refuses_a_backward_pass_after_another_graph(graphs: StandInGraphs) -> None:
    own = torch.ones(2, requires_grad=True)
    options = {"allow_unused_input": True, "pool": graphs.POOL}
    replay, other = (torch.cuda.make_graphed_callables(lambda v: v * v, (own,), **options) for _ in range(2))
    loss = replay(own.detach().requires_grad_()).sum()
    other(own.detach().requires_grad_())
    with pytest.raises(AssertionError, match="another graph has overwritten the activations"):
        loss.backward()
