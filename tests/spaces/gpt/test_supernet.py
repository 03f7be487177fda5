"""Shared weights of a GPT space: every network's outputs are those of the network that is cut out of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from modnas_fast.spaces.gpt import prefix_networks
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.supernet import GPTSupernet
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.supernet import How, cross_entropies

VOCABULARY = 13
#: twins of the published scales with the same proportions
TWINS = {
    "small": GPTSpace("small"),
    "s": GPTSpace("s", widths=(12, 24, 48), depths=(3, 4, 5), head_size=4),
    "l": GPTSpace("l", widths=(20, 40, 80), depths=(4, 5, 6), head_size=4),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def supernet(space: GPTSpace) -> GPTSupernet:
    made = GPTSupernet(space, VOCABULARY).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(7), dtype=torch.float64) * 0.2)
    return made


def cut_out(space: GPTSpace, shared: GPTSupernet, onehot: Tensor) -> torch.nn.Module:
    """The standalone network with the prefixes of the shared weights, by the official keys."""
    (architecture,) = space.decode(onehot[None])
    network = space.build(architecture, vocabulary=VOCABULARY).double()
    weights = shared.state_dict()
    network.load_state_dict(space.inherited(weights, architecture))
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name][tuple(slice(size) for size in value.shape)]), name
    return network


def masked(shared: GPTSupernet, ids: Tensor, onehot: Tensor) -> LinearOutputs:
    """The plain way: all channels of all samples, with masks."""
    return LinearOutputs(shared._mixture(shared.embed(ids), onehot).unbind(), shared.lm_head.weight)


def tokens(batch: int = 2, length: int = 5, seed: int = 1) -> Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=seeded(seed))


@pytest.mark.parametrize("name", TWINS)
def test_outputs_are_those_of_the_networks_cut_out(name: str) -> None:
    space, ids = TWINS[name], tokens(2, 7)
    shared, onehot = supernet(space), space.sample(50, seeded(2)).double()
    with torch.no_grad():
        together = shared.predict(ids, onehot)
        torch.testing.assert_close(masked(shared, ids, onehot).logits(), together, atol=1e-10, rtol=1e-10)
        for row, logits in zip(onehot, together):
            torch.testing.assert_close(logits, cut_out(space, shared, row)(ids), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(shared.predict(ids, onehot[3:4])[0], together[3], atol=1e-12, rtol=1e-10)


def test_what_has_no_influence_has_no_gradient_and_changes_nothing() -> None:
    space, ids = TWINS["small"], tokens(1, 4)
    shared, onehot = supernet(space), space.sample(20, seeded(2)).double()
    for hard in (True, False):
        first, second = (
            LinearOutputs.logits(shared.predict_from(shared.embed(ids), samples, hard=hard))
            for samples in (onehot, space.canonical(onehot))
        )
        torch.testing.assert_close(first, second)


TINY = GPTSpace("small", widths=(4, 8), depths=(1, 2), heads=(1, 2), ratios=(1, 2), head_size=4)


def test_the_gradient_by_samples_is_that_of_the_mixture() -> None:
    shared, ids = supernet(TINY), tokens(1, 3)
    soft = torch.rand(2, TINY.num_options, generator=seeded(3), dtype=torch.float64) + 0.2
    soft = torch.cat([part / part.sum(-1, keepdim=True) for part in soft.split(TINY.group_sizes, dim=-1)], dim=-1)
    assert torch.autograd.gradcheck(lambda sample: shared.predict(ids, sample), soft.requires_grad_())


def test_the_gradient_by_hard_samples_is_that_of_the_mixture_around_them() -> None:
    """What is a little off a one-hot is computed with masks: the differences are those of another computation."""
    shared, ids = supernet(TINY), tokens(1, 3)
    shared.requires_grad_(False)
    hard = TINY.sample(3, seeded(4)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda sample: shared.predict(ids, sample), hard)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", TWINS)
def test_all_gradients_are_those_of_the_masks(name: str, recompute: bool) -> None:
    """By samples, by weights and by the embedding, of all samples at once and of one at a time."""
    space, ids = TWINS[name], tokens()
    shared = supernet(space)
    factors = torch.randn(7, 2, 5, VOCABULARY, generator=seeded(5), dtype=torch.float64)

    def gradients(parts: int, **how: bool) -> list[Tensor]:
        onehot = space.sample(7, seeded(2)).double().requires_grad_()
        state = shared.embed(ids).detach().requires_grad_()
        found = [shared.predict_from(state, part, **how).logits() for part in onehot.split(parts)]
        wanted = [onehot, state, *shared.parameters()]
        first, *rest = torch.autograd.grad((torch.cat(found) * factors).sum(), wanted)
        return [torch.cat(found).detach(), first, *rest]

    wanted = gradients(7, hard=False)
    for parts, hard in ((7, True), (1, True), (3, True), (4, False)):
        for found, true in zip(gradients(parts, hard=hard, recompute=recompute), wanted, strict=True):
            torch.testing.assert_close(found, true, atol=1e-10 * float(true.abs().max()), rtol=1e-10)


def test_larger_options_have_the_gradient_of_the_chosen_one() -> None:
    """Of ratios and heads: what is beyond the prefix is multiplied by two masks that are 0."""
    space, ids = TWINS["small"], tokens()
    shared, onehot = supernet(space), space.sample(6, seeded(2)).double().requires_grad_()
    outputs = shared.predict_from(shared.embed(ids), onehot, hard=True).logits()
    (gradient,) = torch.autograd.grad(outputs.square().sum(), onehot)
    groups = (part.split(space.group_sizes, dim=-1) for part in (onehot.detach(), gradient))
    for sample, found in list(zip(*groups, strict=True))[2:-1]:
        for row, chosen in enumerate(sample.argmax(-1).tolist()):
            torch.testing.assert_close(found[row, chosen:], found[row, chosen].expand_as(found[row, chosen:]))


def test_layers_that_are_not_there_are_left_out_where_the_gradient_need_not_be_exact() -> None:
    space, ids = TWINS["small"], tokens()
    shared, found = supernet(space), []
    for exact in (True, False):
        onehot = space.sample(6, seeded(2)).double().requires_grad_()
        outputs = shared.predict_from(shared.embed(ids), onehot, hard=True, exact=exact).logits()
        found.append(torch.autograd.grad(outputs.square().sum(), onehot)[0].split(space.group_sizes, dim=-1))
    depths = space.sample(6, seeded(2)).split(space.group_sizes, dim=-1)[1].argmax(-1)
    for group, (exact, published) in enumerate(zip(*found, strict=True)):
        if group == 1:
            for row, depth in enumerate(depths.tolist()):
                torch.testing.assert_close(published[row, : depth + 1], exact[row, : depth + 1])
                assert (published[row, depth:] == published[row, depth]).all()
            assert not torch.allclose(exact, published)
        else:
            torch.testing.assert_close(exact, published)


def test_the_gradient_by_weights_is_that_of_the_networks_cut_out() -> None:
    space, ids = TWINS["small"], tokens()
    shared, onehot = supernet(space), space.sample(4, seeded(2)).double()
    shared.predict(ids, onehot).square().sum().backward()
    wanted = {name: torch.zeros_like(value) for name, value in shared.state_dict().items()}
    for row in onehot:
        network = cut_out(space, shared, row)
        network(ids).square().sum().backward()
        for name, parameter in network.named_parameters():
            wanted[name][tuple(slice(size) for size in parameter.shape)] += parameter.grad
    for name, parameter in shared.named_parameters():
        torch.testing.assert_close(
            parameter.grad, wanted[name], atol=1e-9, rtol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_what_no_network_has_gets_no_gradient() -> None:
    """An optimiser leaves it alone then, decay and momentum included."""
    space, ids = TWINS["small"], tokens()
    shared = supernet(space)
    onehot = space.encode([space.parse("e64_l2_m2.4_h4.4_nobias"), space.parse("e32_l2_m2.2_h6.2_nobias")]).double()
    cross_entropies(shared.predict_from(shared.embed(ids), onehot, hard=True), ids).sum().backward()
    for name, parameter in shared.named_parameters():
        unused = (
            ".h.2." in name or ".h.3." in name or (name.endswith("bias") and "norm" not in name and "ln" not in name)
        )
        assert (parameter.grad is None) == unused, name


@pytest.mark.parametrize("how", [{"hard": True}, {"hard": True, "recompute": True}, {"hard": False}], ids=str)
def test_neither_parts_nor_threads_change_a_pass(how: How) -> None:
    space, ids = TWINS["small"], tokens(3, 6)
    before, found = torch.get_num_threads(), []
    try:
        for threads, chunk in ((1, None), (2, 1), (3, 2)):
            torch.set_num_threads(threads)
            shared, onehot = supernet(space), space.sample(5, seeded(2)).double().requires_grad_()
            losses = Passes(shared).device_losses(ids, onehot, ids, chunk, **how)
            (by_sample,) = torch.autograd.grad(losses.sum(), onehot)
            means = Passes(shared).add_weight_gradients(ids, onehot, ids, chunk, **how)
            found.append([losses.detach(), by_sample, means, *(p.grad for p in shared.parameters())])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            torch.testing.assert_close(first, second, atol=1e-11, rtol=1e-10)


def test_without_a_gradient_nothing_is_kept_of_networks_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[prefix_networks._Network] = []

    def watched(*parts: Any) -> prefix_networks._Network:
        made.append(network(*parts))
        return made[-1]

    network = prefix_networks._Network
    monkeypatch.setattr(prefix_networks, "_Network", watched)
    shared, onehot = supernet(TINY), TINY.sample(3, seeded(2)).double()
    with torch.no_grad():
        without = shared.predict(tokens(), onehot)
    assert not made and not without.requires_grad
    torch.testing.assert_close(shared.predict(tokens(), onehot).detach(), without)
    assert len(made) == 3


def test_weights_that_change_before_the_backward_pass_are_noticed() -> None:
    shared, onehot = supernet(TINY), TINY.sample(2, seeded(2)).double()
    outputs = shared.predict(tokens(), onehot)
    with torch.no_grad():
        shared.transformer.h[0].mlp.fc.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()
