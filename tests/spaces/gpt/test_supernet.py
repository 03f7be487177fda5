"""Shared weights of a GPT space: every network's outputs are those of the network that is cut out of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.supernet import GPTSupernet

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
    network.load_state_dict(
        {
            name: weights[name][tuple(slice(size) for size in value.shape)]
            for name, value in network.state_dict().items()
        }
    )
    return network


@pytest.mark.parametrize("name", TWINS)
def test_outputs_are_those_of_the_networks_cut_out(name: str) -> None:
    space, ids = TWINS[name], torch.randint(VOCABULARY, (2, 7), generator=seeded(1))
    shared, onehot = supernet(space), space.sample(50, seeded(2)).double()
    with torch.no_grad():
        together = shared._mixture(shared.embed(ids), onehot)
        torch.testing.assert_close(shared.predict(ids, onehot), together, atol=1e-10, rtol=1e-10)
        for row, logits in zip(onehot, together):
            torch.testing.assert_close(logits, cut_out(space, shared, row)(ids), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(shared.predict(ids, onehot[3:4])[0], together[3], atol=1e-12, rtol=1e-10)


def test_what_has_no_influence_has_no_gradient_and_changes_nothing() -> None:
    space, ids = TWINS["small"], torch.randint(VOCABULARY, (1, 4), generator=seeded(1))
    shared, onehot = supernet(space), space.sample(20, seeded(2)).double()
    torch.testing.assert_close(shared.predict(ids, onehot), shared.predict(ids, space.canonical(onehot)))


def test_the_gradient_by_samples_is_that_of_the_mixture() -> None:
    space = GPTSpace("small", widths=(4, 8), depths=(1, 2), heads=(1, 2), ratios=(1, 2), head_size=4)
    shared, ids = supernet(space), torch.randint(VOCABULARY, (1, 3), generator=seeded(1))
    soft = torch.rand(2, space.num_options, generator=seeded(3), dtype=torch.float64) + 0.2
    soft = torch.cat([part / part.sum(-1, keepdim=True) for part in soft.split(space.group_sizes, dim=-1)], dim=-1)
    assert torch.autograd.gradcheck(lambda sample: shared.predict(ids, sample), soft.requires_grad_())


def test_the_gradient_by_weights_is_that_of_the_networks_cut_out() -> None:
    space, ids = TWINS["small"], torch.randint(VOCABULARY, (2, 5), generator=seeded(1))
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


def test_prefixes_of_the_weights_give_what_masks_give() -> None:
    space, ids = TWINS["small"], torch.randint(VOCABULARY, (2, 5), generator=seeded(1))
    shared, onehot = supernet(space), space.sample(6, seeded(2)).double()
    gradients = []
    for compute in (shared._mixture, lambda state, sample: shared.predict_from(state, sample, hard=True)):
        shared.zero_grad()
        logits = compute(shared.embed(ids), onehot)
        logits.square().sum().backward()
        gradients.append((logits.detach(), {name: p.grad.clone() for name, p in shared.named_parameters()}))
    (masked, by_masks), (prefix, by_prefixes) = gradients
    torch.testing.assert_close(prefix, masked, atol=1e-10, rtol=1e-10)
    for name, gradient in by_masks.items():
        torch.testing.assert_close(by_prefixes[name], gradient, atol=1e-9, rtol=1e-8)
