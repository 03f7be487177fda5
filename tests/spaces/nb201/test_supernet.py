"""The batched supernet against one network at a time, and the mixture against its formula and differences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from supernet_inputs import architectures, batch, make, seeded, soft_samples, space
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.runtime import implementations
from modnas_fast.spaces.nb201 import mixed_cell_composed as module
from modnas_fast.spaces.nb201.network import CONV_1X1, CONV_3X3, Cell, NB201Network, PoolReduction, ResidualReduction
from modnas_fast.spaces.nb201.shared_layers import SharedCell
from modnas_fast.spaces.nb201.supernet import NB201Supernet

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@pytest.fixture(params=["composed", "reference"], autouse=True)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    with implementations.using(request.param):
        yield request.param


def shared_of(supernet: NB201Supernet, network: NB201Network) -> Iterator[tuple[nn.Parameter, object, nn.Parameter]]:
    """(shared weight, place in it, the standalone network's copy of that), matched by structure."""
    whole = slice(None)
    yield supernet.stem.weight, whole, network.stem[0].weight
    yield supernet.classifier.weight, whole, network.classifier.weight
    yield supernet.classifier.bias, whole, network.classifier.bias
    for shared, layer in zip(supernet.layers, network.layers, strict=True):
        if isinstance(layer, ResidualReduction):
            yield shared.reduce.weight, whole, layer.body[0][1].weight
            yield shared.refine.weight, whole, layer.body[1][1].weight
            yield shared.project.weight, whole, layer.project.weight
        elif isinstance(layer, PoolReduction):
            yield shared.project.weight, whole, layer[1].weight
        elif isinstance(layer, Cell):
            for name, operation in layer.operations.items():
                if isinstance(operation, nn.Sequential):
                    edge, small = EDGES.index((int(name[0]), int(name[2]))), operation[1].kernel_size == (1, 1)
                    if not small:
                        kernels, place = shared.kernels_3x3, edge
                    elif shared.entangled:
                        kernels, place = shared.kernels_3x3, (edge, ..., slice(1, 2), slice(1, 2))
                    else:
                        kernels, place = shared.kernels_1x1, (edge, ..., None, None)
                    yield kernels, place, operation[1].weight


def one_at_a_time(
    supernet: NB201Supernet, x: Tensor, onehot: Tensor, y: Tensor, reduction: str = "residual"
) -> tuple[Tensor, dict]:
    """Losses [T] and the gradient of their sum per shared weight, from T standalone networks."""
    gradients = {name: torch.zeros_like(p) for name, p in supernet.named_parameters()}
    names = {id(p): name for name, p in supernet.named_parameters()}
    task = {
        "image_channels": x.shape[1],
        "classes": supernet.classifier.out_features,
        "channels": supernet.stem.out_channels,
        "cells": (len(supernet.layers) - 2) // 3,
        "reduction": reduction,
    }
    losses = []
    for architecture in space.decode(onehot):
        network = space.build(architecture, **task).double().train()
        network.load_state_dict(space.inherited(supernet.state_dict(), architecture))
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        losses.append(loss.detach())
        for shared, place, own in shared_of(supernet, network):
            gradients[names[id(shared)]][place] += own.grad
    return torch.stack(losses), gradients


def weight_gradients(supernet: NB201Supernet, total: Tensor) -> dict[str, Tensor]:
    supernet.zero_grad()
    total.backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in supernet.named_parameters()}


def assert_same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value, atol=1e-10, rtol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def with_duplicates(count: int) -> Tensor:
    """`count` random architectures, the first and second of which stand there twice."""
    onehot = architectures(count)
    return torch.cat([onehot, onehot[:2]])


CASES = [
    # C, N, devices, image height and width, batch
    (2, 1, 6, (8, 8), 5),
    (1, 1, 3, (5, 7), 4),
    (3, 1, 4, (7, 6), 3),
    (4, 2, 5, (6, 6), 3),
    (2, 2, 12, (4, 5), 3),
    (2, 1, 1, (8, 8), 2),
]


@pytest.mark.parametrize("reduction", ["residual", "pool"])
@pytest.mark.parametrize(("channels", "cells", "devices", "size", "images"), CASES)
def test_batched_equals_one_network_at_a_time(
    channels: int, cells: int, devices: int, size: tuple[int, int], images: int, reduction: str
) -> None:
    supernet = make(channels, cells, reduction)
    x, y = batch(images, 3, *size)
    onehot = with_duplicates(devices) if devices > 1 else architectures(1, seed=3)
    losses = supernet(x, onehot, y)
    wanted, gradients = one_at_a_time(supernet, x, onehot, y, reduction)
    torch.testing.assert_close(losses.detach(), wanted, atol=1e-10, rtol=1e-10)
    assert_same(weight_gradients(supernet, losses.sum()), gradients)


@pytest.mark.parametrize("reduction", ["residual", "pool"])
@pytest.mark.parametrize(("channels", "cells", "devices", "size", "images"), CASES)
def test_mixture_equals_one_network_at_a_time(
    channels: int, cells: int, devices: int, size: tuple[int, int], images: int, reduction: str
) -> None:
    supernet = make(channels, cells, reduction)
    x, y = batch(images, 3, *size)
    onehot = with_duplicates(devices) if devices > 1 else architectures(1, seed=3)
    losses = supernet(x, onehot.clone().requires_grad_(), y)
    wanted, gradients = one_at_a_time(supernet, x, onehot, y, reduction)
    torch.testing.assert_close(losses.detach(), wanted, atol=1e-10, rtol=1e-10)
    assert_same(weight_gradients(supernet, losses.sum()), gradients)


def test_per_device_gradients_are_those_of_the_own_loss() -> None:
    """Uneven weights on the devices' losses, so that a mix-up of devices shows."""
    supernet = make()
    x, y = batch()
    onehot = architectures(3)
    factors = torch.tensor([1.0, -2.0, 5.0]).double()
    total: dict[str, Tensor] = {}
    for row, factor in zip(onehot, factors, strict=True):
        _, gradients = one_at_a_time(supernet, x, row[None], y)
        total = {name: total.get(name, 0) + factor * value for name, value in gradients.items()}
    assert_same(weight_gradients(supernet, (factors * supernet(x, onehot, y)).sum()), total)
    soft = onehot.clone().requires_grad_()
    assert_same(weight_gradients(supernet, (factors * supernet(x, soft, y)).sum()), total)


def test_entangled_kernels_are_the_centres_of_the_large_ones() -> None:
    supernet = make(2, 2, entangled=True)
    assert not any("kernels_1x1" in name for name, _ in supernet.named_parameters())
    x, y = batch()
    onehot = architectures(4, seed=1)
    losses = supernet(x, onehot, y)
    wanted, gradients = one_at_a_time(supernet, x, onehot, y)
    torch.testing.assert_close(losses.detach(), wanted, atol=1e-10, rtol=1e-10)
    assert_same(weight_gradients(supernet, losses.sum()), gradients)


def test_activations_follow_the_format_of_the_images() -> None:
    supernet = make().float()
    x, y = batch(40)
    onehot = architectures(4).float()
    exact = supernet.double()(x, onehot.double(), y)
    losses = supernet.float()(x.bfloat16(), onehot, y)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), exact, atol=0.05, rtol=0.05)
    losses.sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in supernet.parameters())


def test_predict_gives_the_logits_of_the_standalone_networks() -> None:
    supernet = make()
    x, _ = batch()
    onehot = architectures(4)
    outputs = supernet.predict(x, onehot)
    assert outputs.shape == (4, 5, 4)
    for architecture, output in zip(space.decode(onehot), outputs, strict=True):
        network = space.build(architecture, image_channels=3, classes=4, channels=2, cells=1).double().train()
        network.load_state_dict(space.inherited(supernet.state_dict(), architecture))
        torch.testing.assert_close(output, network(x), atol=1e-10, rtol=1e-10)


# ---- the mixture by its formula ----


def normed(x: Tensor) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = x.var((0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def plain_cell(cell: nn.Module, x: Tensor, sample: Tensor, published: bool = False) -> Tensor:
    """One device, edge by edge: Σ_k s[e, k] op_k(node); where `published`, s[e, k] alone for what is not chosen."""
    nodes: list[Tensor] = [x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)]
    for edge, (source, target) in enumerate(EDGES):
        value, s = nodes[source], sample[edge]
        one, three = (
            normed(F.conv2d(F.relu(value), cell.kernel(edge, kind), padding=p))
            for kind, p in ((CONV_1X1, 0), (CONV_3X3, 1))
        )
        pool = F.avg_pool2d(value, 3, 1, 1, count_include_pad=False)
        for weight, option in zip(s, (torch.zeros_like(value), value, one, three, pool), strict=True):
            nodes[target] = nodes[target] + (weight * option if weight != 0 or not published else weight)
    return nodes[3]


def plain_losses(supernet: NB201Supernet, x: Tensor, sample: Tensor, y: Tensor, published: bool = False) -> Tensor:
    losses = []
    for row in sample.unflatten(1, (6, 5)):
        state = normed(supernet.stem(x))
        for layer in supernet.layers:
            if isinstance(layer, SharedCell):
                state = plain_cell(layer, state, row, published)
                continue
            body = normed(F.conv2d(F.relu(state), layer.reduce.weight, stride=2, padding=1))
            body = normed(F.conv2d(F.relu(body), layer.refine.weight, padding=1))
            state = F.conv2d(F.avg_pool2d(state, 2, 2, ceil_mode=True), layer.project.weight) + body
        features = F.relu(normed(state)).mean((2, 3))
        losses.append(F.cross_entropy(supernet.classifier(features), y))
    return torch.stack(losses)


@pytest.mark.parametrize(("devices", "cells", "size"), [(3, 1, (8, 8)), (1, 1, (5, 7)), (2, 2, (6, 5))])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_mixture_equals_its_plain_formula(devices: int, cells: int, size: tuple[int, int], kind: str) -> None:
    supernet = make(2, cells)
    x, y = batch(4, 3, *size)
    sample = soft_samples(devices) if kind == "soft" else architectures(devices, seed=5)
    ours, plain = (sample.clone().requires_grad_() for _ in range(2))
    losses, wanted = supernet(x, ours, y), plain_losses(supernet, x, plain, y)
    torch.testing.assert_close(losses, wanted, atol=1e-9, rtol=1e-9)
    factors = torch.arange(1.0, devices + 1).double()
    torch.testing.assert_close(
        torch.autograd.grad((factors * losses).sum(), ours)[0],
        torch.autograd.grad((factors * wanted).sum(), plain)[0],
        atol=1e-9,
        rtol=1e-7,
    )


def test_gradient_of_the_sample_by_central_differences() -> None:
    supernet = make(2)
    x, y = batch(4, 3, 6, 5)
    sample = soft_samples(2, seed=7).requires_grad_()
    (gradient,) = torch.autograd.grad(supernet(x, sample, y).sum(), sample)
    step = 1e-6
    for device, option in [(0, 1), (0, 3), (0, 7), (1, 9), (1, 12), (1, 18), (1, 29), (0, 24)]:
        ends = []
        for sign in (1, -1):
            moved = sample.detach().clone()
            moved[device, option] += sign * step
            ends.append(supernet(x, moved, y).detach())
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(slope[device]) == pytest.approx(float(gradient[device, option]), rel=1e-5, abs=1e-7)
        assert float(slope[1 - device]) == 0.0
    assert not gradient[:, ::5].any()  # `none` adds nothing


def test_gradient_at_a_hard_sample_is_exact_for_options_not_chosen() -> None:
    supernet = make(2)
    x, y = batch(4, 3, 6, 6)
    hard = space.encode([space.architecture([3, 4, 2, 1, 3, 3])]).double()
    leaf = hard.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(supernet(x, leaf, y).sum(), leaf)
    step = 1e-7  # short: a ReLU's kink lies close by
    for option in range(30):
        moved = hard.repeat(2, 1)
        moved[:, option] += torch.tensor([step, -step])
        ends = supernet(x, moved, y).detach()
        assert float(ends[0] - ends[1]) / (2 * step) == pytest.approx(float(gradient[0, option]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("cells", [1, 2])
def test_the_published_gradient_is_the_sum_for_all_options_not_chosen(cells: int) -> None:
    """As if each option not chosen were a number that its weight adds to every pixel: s_k for s_k · op_k."""
    supernet = make(2, cells)
    x, y = batch(4, 3, 6, 5)
    hard = torch.cat([architectures(3, seed=2), space.encode([space.architecture([0, 3, 1, 0, 4, 2])]).double()])
    ours, plain = (hard.clone().requires_grad_() for _ in range(2))
    losses = supernet(x, ours, y, exact=False)
    wanted = plain_losses(supernet, x, plain, y, published=True)
    torch.testing.assert_close(losses, wanted, atol=1e-9, rtol=1e-9)
    factors = torch.arange(1.0, 5.0).double()
    torch.testing.assert_close(
        torch.autograd.grad((factors * losses).sum(), ours)[0],
        torch.autograd.grad((factors * wanted).sum(), plain)[0],
        atol=1e-9,
        rtol=1e-7,
    )


# ---- special architectures ----


def test_all_none_networks_answer_with_the_class_bias_alone() -> None:
    supernet = make()
    x, y = batch()
    nothing = space.encode([space.architecture([0] * 6)] * 2).double()
    wanted = supernet.classifier.bias.expand(2, 5, 4)
    torch.testing.assert_close(supernet.predict(x, nothing), wanted)
    torch.testing.assert_close(supernet.predict(x, nothing.clone().requires_grad_()), wanted)
    mixed = torch.cat([nothing, architectures(2)])
    torch.testing.assert_close(supernet.predict(x, mixed)[:2], wanted)
    supernet(x, mixed.requires_grad_(), y).sum().backward()
    assert all(p.grad.isfinite().all() for p in supernet.parameters()) and mixed.grad.isfinite().all()


def test_dead_edges_change_nothing() -> None:
    supernet = make()
    x, y = batch()
    pair = space.encode([space.architecture([3, 0, 0, 1, 0, 2]), space.architecture([0, 0, 0, 1, 0, 0])]).double()
    losses = supernet(x, pair, y)
    assert losses[0] == losses[1]
    mixed = supernet(x, pair.requires_grad_(), y)
    torch.testing.assert_close(mixed, losses, atol=1e-12, rtol=0)


def test_duplicates_have_the_same_loss_bit_for_bit_in_one_pass() -> None:
    supernet = make().float()
    x, y = batch()
    onehot = with_duplicates(4).float()
    losses = supernet(x.float(), onehot, y)
    assert torch.equal(losses[4:], losses[:2])


def test_each_device_has_its_own_batch_statistics() -> None:
    supernet = make()
    x, y = batch()
    onehot = architectures(5)
    together = supernet(x, onehot.clone().requires_grad_(), y)
    alone = torch.cat([supernet(x, row[None].clone().requires_grad_(), y) for row in onehot])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("differentiable", [False, True])
def test_inputs_stay_unchanged(differentiable: bool) -> None:
    supernet = make()
    x, y = batch()
    onehot = architectures(3).requires_grad_(differentiable)
    before = (
        x.clone(),
        onehot.detach().clone(),
        y.clone(),
        {k: v.clone() for k, v in supernet.state_dict().items()},
    )
    supernet(x, onehot, y).sum().backward()
    assert torch.equal(x, before[0]) and torch.equal(onehot.detach(), before[1]) and torch.equal(y, before[2])
    assert all(torch.equal(value, before[3][name]) for name, value in supernet.state_dict().items())


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 4, 8, 8), (3, 2, 2, 2), (2, 1, 1, 6)])
def test_average_pool_equals_the_library(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(module.average_pool(x), F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


@contextmanager
def counted_convolutions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts the calls of convolutions, pooling left out, by the number of images they saw."""
    seen: list[int] = []
    convolve = F.conv2d

    def counting(x: Tensor, *arguments: object, groups: int = 1, **others: object) -> Tensor:
        if groups == 1:
            seen.append(len(x))
        return convolve(x, *arguments, groups=groups, **others)

    with monkeypatch.context() as patch:
        patch.setattr(F, "conv2d", counting)
        yield seen


def test_devices_share_what_they_agree_in(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = make(2, 2)
    x, _ = batch()
    same = space.encode([space.parse(space.references[9])] * 7).double()  # a 3×3 convolution on every edge
    different = torch.cat([same[:1], architectures(6)])
    with implementations.using("composed"), counted_convolutions(monkeypatch) as one:
        supernet.predict(x, same[:1])
    with implementations.using("composed"), counted_convolutions(monkeypatch) as seven_equal:
        supernet.predict(x, same)
    with implementations.using("composed"), counted_convolutions(monkeypatch) as seven_different:
        supernet.predict(x, different)
    assert len(one) == 1 + 6 * 6 + 2 * 3  # stem, six cells, two reductions
    assert seven_equal == one and len(seven_different) > len(one)


def test_a_common_prefix_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that differ on the last edge only: in the first cell five of six convolutions are common."""
    supernet = make(2, 1)
    x, _ = batch()
    pair = space.encode([space.architecture([3] * 6), space.architecture([3] * 5 + [2])]).double()
    with implementations.using("composed"), counted_convolutions(monkeypatch) as calls:
        supernet.predict(x, pair)
    assert len(calls) == 1 + (5 + 2) + 2 * (2 * 6 + 2 * 3)


def test_inherited_networks_keep_neutral_batch_norm() -> None:
    supernet = make()
    architecture = space.architecture([3] * 6)
    network = space.build(architecture, image_channels=3, classes=4, channels=2, cells=1).double()
    before = {name: p.clone() for name, p in network.named_parameters()}
    network.load_state_dict(space.inherited(supernet.state_dict(), architecture))
    pairs = list(shared_of(supernet, network))
    assert len(pairs) == 3 + 3 * 6 + 2 * 3
    assert all(torch.equal(shared[place], own) for shared, place, own in pairs)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.weight.eq(1).all() and m.bias.eq(0).all() for m in norms)
    assert not torch.equal(before["stem.0.weight"], network.stem[0].weight)
