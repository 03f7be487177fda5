"""The passes of a search step, a part of the devices at a time, against one device after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from supernet_inputs import architectures, batch, make, soft_samples
from torch import Tensor

from modnas_fast.runtime import implementations
from modnas_fast.supernets.parallel import in_parallel
from modnas_fast.supernets.passes import Passes, frozen

HOW = {
    "exact": {"hard": True, "exact": True},
    "published": {"hard": True, "exact": False},
    "soft": {"hard": False},
    "recomputed": {"hard": True, "exact": False, "recompute": True},
}


@pytest.fixture(params=["composed", "reference"], autouse=True)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    with implementations.using(request.param):
        yield request.param


def samples(how: str) -> Tensor:
    return soft_samples(5) if how == "soft" else torch.cat([architectures(4), architectures(1)])


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("how", HOW)
def test_losses_and_gradients_by_samples_are_those_of_one_device_at_a_time(how: str, chunk: int | None) -> None:
    supernet, (x, y) = make(2, 2), batch()
    onehot, factors = samples(how).requires_grad_(), torch.arange(1.0, 6.0).double()
    alone = torch.cat([supernet(x, row[None], y, **HOW[how]) for row in onehot])
    (wanted,) = torch.autograd.grad((factors * alone).sum(), onehot)
    losses = Passes(supernet).device_losses(x, onehot, y, chunk, **HOW[how])
    (found,) = torch.autograd.grad((factors * losses).sum(), onehot)
    torch.testing.assert_close(losses, alone, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in supernet.parameters())


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("how", HOW)
def test_weight_gradients_are_the_mean_of_one_device_at_a_time(how: str, chunk: int | None) -> None:
    supernet, (x, y) = make(2, 2), batch()
    onehot = samples(how)
    alone = torch.cat([supernet(x, row[None], y, **HOW[how]) for row in onehot])
    wanted = torch.autograd.grad(alone.mean(), list(supernet.parameters()))
    before = [torch.full_like(parameter, 0.25) for parameter in supernet.parameters()]
    for parameter, gradient in zip(supernet.parameters(), before):
        parameter.grad = gradient.clone()
    losses = Passes(supernet).add_weight_gradients(x, onehot, y, chunk, **HOW[how])
    torch.testing.assert_close(losses, alone.detach(), atol=1e-10, rtol=1e-10)
    for (name, parameter), gradient, old in zip(supernet.named_parameters(), wanted, before, strict=True):
        torch.testing.assert_close(
            parameter.grad - old, gradient, atol=1e-10, rtol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("how", ["published", "soft"])
def test_the_number_of_threads_changes_nothing(how: str) -> None:
    (x, y), onehot, found = batch(), samples(how), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            supernet, leaf = make(2, 1), onehot.clone().requires_grad_()
            losses = Passes(supernet).device_losses(x, leaf, y, 2, **HOW[how])
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            Passes(supernet).add_weight_gradients(x, onehot, y, 2, **HOW[how])
            assert torch.get_num_threads() == threads
            found.append([losses.detach(), gradient, *(p.grad for p in supernet.parameters())])
    finally:
        torch.set_num_threads(before)
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, atol=1e-12, rtol=1e-12)


def test_threads_are_divided_among_the_parts() -> None:
    def threads_of(_: int) -> int:
        x = torch.ones(300, 300, requires_grad=True)
        torch.autograd.grad((x @ x).exp().sum(), x)  # torch sets up a thread with its first operation
        return torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(7)
        assert in_parallel(threads_of, range(3), 3) == [2, 2, 2]
        assert torch.get_num_threads() == 7
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_part_is_raised() -> None:
    def fail(part: int) -> int:
        return 1 // part

    with pytest.raises(ZeroDivisionError):
        in_parallel(fail, [1, 0, 2], 2)


def test_without_a_gradient_only_losses_come_back() -> None:
    supernet, (x, y) = make(), batch()
    losses = Passes(supernet).device_losses(x, architectures(3), y)
    assert not losses.requires_grad
    torch.testing.assert_close(losses, supernet(x, architectures(3), y).detach(), atol=1e-12, rtol=0)


def test_networks_of_nothing_leave_the_stem_alone() -> None:
    supernet, (x, y) = make(), batch()
    nothing = torch.zeros(2, 6, 5, dtype=torch.float64)
    nothing[..., 0] = 1
    Passes(supernet).add_weight_gradients(x, nothing.flatten(1), y)
    assert supernet.classifier.bias.grad.any()
    assert supernet.stem.weight.grad is None or not supernet.stem.weight.grad.any()


def test_frozen_weights_thaw_after_an_error() -> None:
    supernet = make()
    supernet.stem.weight.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(supernet):
        assert not any(parameter.requires_grad for parameter in supernet.parameters())
        raise ZeroDivisionError
    assert [name for name, p in supernet.named_parameters() if not p.requires_grad] == ["stem.weight"]
