"""Shared weights of a MobileNetV3 space: every network is the one that is cut out of them."""

from __future__ import annotations

import pytest
import torch
from spaces.mobilenetv3.test_network import CLASSES, SPACE, TINY, images, randomise, seeded
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.mobilenetv3 import memory
from modnas_fast.spaces.mobilenetv3.network import MobileNetV3
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.spaces.mobilenetv3.supernet import MobileNetV3Supernet
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.running_statistics import compute_statistics


def supernet(space: MobileNetV3Space = SPACE) -> MobileNetV3Supernet:
    made = randomise(MobileNetV3Supernet(space, CLASSES))
    assert isinstance(made, MobileNetV3Supernet)
    return made


def cut_out(shared: MobileNetV3Supernet, onehot: Tensor, space: MobileNetV3Space = SPACE) -> list[MobileNetV3]:
    """The standalone networks with the weights of the shared ones."""
    found = []
    for architecture in space.decode(onehot):
        network = space.build(architecture, classes=CLASSES).double()
        network.load_state_dict(space.inherited(shared.state_dict(), architecture))
        found.append(network)
    return found


def soft(space: MobileNetV3Space, count: int) -> Tensor:
    drawn = torch.rand(count, space.num_options, generator=seeded(3), dtype=torch.float64) + 0.2
    parts = drawn.split(space.group_sizes, dim=-1)
    return torch.cat([part / part.sum(-1, keepdim=True) for part in parts], dim=-1)


def test_outputs_in_training_and_in_evaluation_are_those_of_the_networks_cut_out() -> None:
    shared, onehot = supernet(), SPACE.sample(4, seeded(2)).double()
    batches = [images(6)[:3], images(6)[3:]]
    with torch.no_grad():
        trained = shared.predict(images(), onehot)
        evaluated = shared.predict_chosen(shared.embed(images()), onehot, shared.statistics(batches, onehot))
        for network, in_training, in_evaluation in zip(cut_out(shared, onehot), trained, evaluated, strict=True):
            torch.testing.assert_close(network.train()(images()), in_training, atol=1e-10, rtol=1e-10)
            compute_statistics(network, batches)
            torch.testing.assert_close(network(images()), in_evaluation, atol=1e-10, rtol=1e-10)


def test_by_masks_hard_samples_are_the_same_networks() -> None:
    shared, onehot = supernet(), SPACE.sample(5, seeded(4)).double()
    masked = shared.predict_from(images(2), onehot.clone().requires_grad_(), hard=True)
    torch.testing.assert_close(masked, shared.predict(images(2), onehot), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("asked", [False, True])
def test_rows_do_not_depend_on_each_other(asked: bool) -> None:
    shared, onehot = supernet(), SPACE.sample(4, seeded(5)).double().requires_grad_(asked)
    together, order = shared.predict(images(2), onehot), torch.tensor([2, 0, 3, 1])
    one_at_a_time = torch.cat([shared.predict(images(2), row[None]) for row in onehot])
    torch.testing.assert_close(together, one_at_a_time, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(shared.predict(images(2), onehot[order]), together[order], atol=1e-12, rtol=1e-12)
    canonical = shared.predict(images(2), SPACE.canonical(onehot.detach()))
    torch.testing.assert_close(canonical, together, atol=1e-10, rtol=1e-10)


def test_the_gradient_by_samples_is_that_of_the_mixture() -> None:
    shared, sample = supernet(TINY), soft(TINY, 1)
    direction = torch.randn(2, 1, 2, CLASSES, generator=seeded(7), dtype=torch.float64)

    def weighed(onehot: Tensor) -> Tensor:
        return (shared.predict(images(2), onehot) * direction[0]).sum()

    assert torch.autograd.gradcheck(weighed, sample.requires_grad_(), fast_mode=True)


def test_the_gradient_of_hard_samples_is_exact_or_leaves_out_kernels_and_resolutions_not_chosen() -> None:
    shared, found = supernet(TINY), {}
    onehot = TINY.canonical(TINY.sample(3, seeded(5)).double()).requires_grad_()
    for exact in (True, False):
        outputs = shared.predict_from(images(6), onehot, hard=True, exact=exact)
        (found[exact],) = torch.autograd.grad(outputs.square().sum(), onehot)

    def loss(sample: Tensor) -> Tensor:
        return shared.predict_from(images(6), sample, hard=False).square().sum()

    step = 1e-6 * torch.rand(onehot.shape, generator=seeded(8), dtype=torch.float64)
    with torch.no_grad():  # from one side: shares below 0 are what no sample has
        slope = (-3 * loss(onehot) + 4 * loss(onehot + step) - loss(onehot + 2 * step)) / 2
    torch.testing.assert_close((found[True] * step).sum(), slope, atol=0, rtol=1e-5)
    parts, published, chosen = (TINY.split(values) for values in (found[True], found[False], onehot.detach()))
    for name in ("kernels", "resolution"):
        here = getattr(chosen, name) > 0
        torch.testing.assert_close(getattr(published, name)[here], getattr(parts, name)[here])
        assert not getattr(published, name)[~here].any()
        assert getattr(parts, name)[~here].any()
    torch.testing.assert_close(published.expansions, parts.expansions)
    torch.testing.assert_close(published.depths, parts.depths)


def test_the_gradient_by_weights_is_that_of_the_networks_and_the_same_by_masks() -> None:
    shared, onehot = supernet(), SPACE.sample(3, seeded(6)).double()
    found = []
    for sample in (onehot, onehot.clone().requires_grad_()):
        shared.zero_grad()
        shared.predict_from(images(3), sample, hard=True).square().sum().backward()
        found.append({name: p.grad.clone() for name, p in shared.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-9, rtol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    alone = cut_out(shared, onehot)
    for network in alone:
        network.train()(images(3)).square().sum().backward()
    stem = sum(network.first_conv.conv.weight.grad for network in alone)
    torch.testing.assert_close(found[0]["first_conv.conv.weight"], stem, atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize("threads", [1, 2])
def test_passes_give_the_same_on_any_number_of_threads(threads: int) -> None:
    shared, onehot = supernet(), SPACE.sample(4, seeded(6)).double()
    y = torch.arange(3) % CLASSES
    shared.zero_grad()
    wanted = shared(images(3), onehot, y)
    wanted.mean().backward()
    gradients = {name: p.grad.clone() for name, p in shared.named_parameters() if p.grad is not None}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        shared.zero_grad()
        found = Passes(shared).add_weight_gradients(images(3), onehot, y, 1, hard=True)
        quality = shared.predict_chosen(shared.embed(images()), onehot, shared.statistics([images()], onehot))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, wanted.detach(), atol=1e-10, rtol=1e-10)
    for name, gradient in gradients.items():
        torch.testing.assert_close(shared.get_parameter(name).grad, gradient, atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(quality, shared.predict(images(), onehot), atol=1e-9, rtol=1e-9)


def test_ranks_hardly_depend_on_the_images_of_the_statistics() -> None:
    """Losses of chosen networks with the statistics of two other sets of images, after a few steps of training."""
    torch.manual_seed(0)
    space = MobileNetV3Space("small", width=0.25, resolutions=(32, 48), expansions=(3, 4, 6), depths=(1, 2))
    shared = MobileNetV3Supernet(space, 4)
    labels = torch.arange(256) % 4
    patterns = torch.randn(4, 3, 48, 48, generator=seeded(1))
    x = patterns[labels] + 3 * torch.randn(256, 3, 48, 48, generator=seeded(2))
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.05, momentum=0.9)
    for step in range(10):
        rows = torch.randint(192, (32,), generator=seeded(step))
        optimizer.zero_grad()
        Passes(shared).add_weight_gradients(x[rows], space.sample(2, seeded(step)), labels[rows], 1, hard=True)
        optimizer.step()
    onehot = space.sample(12, seeded(3))
    losses = []
    with torch.no_grad():
        for begin in (0, 96):
            statistics = shared.statistics(x[begin : begin + 96].split(32), onehot)
            outputs = shared.predict_chosen(shared.embed(x[192:]), onehot, statistics)
            losses.append(torch.stack([torch.nn.functional.cross_entropy(row, labels[192:]) for row in outputs]))
    ranks = [values.argsort().argsort().double() for values in losses]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.9
    assert losses[0].std() > 3 * (losses[0] - losses[1]).abs().median()


def test_what_a_pass_keeps_is_what_the_formula_tells() -> None:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    space = MobileNetV3Space("small", resolutions=(48, 64))
    shared = MobileNetV3Supernet(space, CLASSES)
    weights = {p.untyped_storage().data_ptr() for p in shared.parameters()}
    x = torch.randn(16, 3, 64, 64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = shared.predict(x, space.encode(space.ends)[1:])
    bytes_kept = sum(size for place, size in kept.items() if place not in weights)
    told = 16 * 4 * memory.kept_numbers(space.scale, masks=False)
    assert outputs.requires_grad and 0.5 * told < bytes_kept <= told


def test_memory_that_is_not_there_is_refused_with_what_helps() -> None:
    shared, x = MobileNetV3Supernet(SPACE, CLASSES), images().float()
    assert shared.plan(x, 5, "weights", None) == (1, False)
    assert shared.networks_at_a_time(x, 1 << 34) == memory.EVALUATED_TOGETHER
    with pytest.raises(InputError, match="search.batch_size: one network on 4 images"):
        shared.plan(x, 5, "weights", 1 << 20)
    with pytest.raises(InputError, match="evaluation.batch_size: a network on 4 images"):
        shared.networks_at_a_time(x, 1 << 10)


def test_images_below_the_smallest_resolution_are_refused() -> None:
    with pytest.raises(InputError, match="the images have 28×28 pixels, the smallest resolution is 32"):
        SPACE.supernet(classes=4, image_channels=3, input_shape=(3, 28, 28))
    assert SPACE.supernet(classes=4, image_channels=1, input_shape=(1, 40, 40)).first_conv.weight.shape[1] == 1
    with pytest.raises(InputError, match="takes images"):
        SPACE.supernet(vocabulary=10)
