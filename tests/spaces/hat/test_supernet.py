"""Shared weights of a HAT space: every network's outputs are those of the network that is cut out of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.config import make_config
from modnas_fast.datasets.pairs import Pairs
from modnas_fast.datasets.vocabulary import Bytes
from modnas_fast.spaces.hat.network import PADDING
from modnas_fast.spaces.hat.space import HATSpace
from modnas_fast.spaces.hat.supernet import HATSupernet
from modnas_fast.tasks.task_objective import SupernetObjective
from modnas_fast.tasks.translation import translation_of

VOCABULARY = 13
#: twins of the scales with their proportions
TWINS = {
    "small": HATSpace("small", encoder_widths=(8, 12, 16), decoder_widths=(8, 12, 16), inner=16,
                      encoder_ffns=(6, 12, 20), decoder_ffns=(8, 12, 20)),
    "space0": HATSpace("space0", encoder_widths=(12, 16), decoder_widths=(10, 14), inner=16, encoder_ffns=(6, 9, 12),
                       decoder_ffns=(6, 9, 12)),
    "elastic encoder": HATSpace("small", encoder_widths=(8, 12), decoder_widths=(12, 16), encoder_depths=(3, 4, 5),
                                inner=16, encoder_ffns=(6, 12), decoder_ffns=(8, 12)),
}  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def supernet(space: HATSpace) -> HATSupernet:
    made = HATSupernet(space, VOCABULARY).double()
    with torch.no_grad():
        for seed, parameter in enumerate(made.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed), dtype=torch.float64) * 0.4)
    return made


def pairs(count: int, length: int) -> Tensor:
    """Sentences of several lengths."""
    found = torch.randint(3, VOCABULARY, (count, 2, length), generator=seeded(1))
    found[0, 0, length - 2 :] = PADDING
    found[-1, 1, length - 1 :] = PADDING
    return found


def cut_out(space: HATSpace, shared: HATSupernet, onehot: Tensor) -> nn.Module:
    """The standalone network with the prefixes of the shared weights."""
    (architecture,) = space.decode(onehot[None])
    network = space.build(architecture, vocabulary=VOCABULARY).double()
    network.load_state_dict(space.inherited(shared.state_dict(), architecture))
    return network


@pytest.mark.parametrize("name", TWINS)
def test_outputs_are_those_of_the_networks_cut_out(name: str) -> None:
    space, ids = TWINS[name], pairs(2, 6)
    shared, onehot = supernet(space), space.sample(50, seeded(2)).double()
    with torch.no_grad():
        masked = shared._mixture(ids, onehot, exact=True)
        prefixed = shared.predict_from(ids, onehot)
        assert len(prefixed) == len(masked) == 50
        for hidden, narrow in zip(masked, prefixed.hidden, strict=True):
            torch.testing.assert_close(hidden[..., : narrow.shape[-1]], narrow, atol=1e-10, rtol=1e-10)
            assert not hidden[..., narrow.shape[-1] :].any()
        for row, logits in zip(onehot, prefixed.logits()):
            torch.testing.assert_close(logits, cut_out(space, shared, row)(ids), atol=1e-10, rtol=1e-10)
        together = shared._mixture(ids, onehot[3:4], exact=True)[0]
        torch.testing.assert_close(together, masked[3], atol=1e-12, rtol=1e-10)


def test_what_has_no_influence_changes_nothing() -> None:
    space, ids = TWINS["elastic encoder"], pairs(1, 4)
    shared, onehot = supernet(space), space.sample(20, seeded(2)).double()
    torch.testing.assert_close(
        shared._mixture(ids, onehot, exact=True), shared._mixture(ids, space.canonical(onehot), exact=True)
    )


def tiny() -> HATSpace:
    return HATSpace(
        "small", encoder_widths=(4, 6), decoder_widths=(4, 6), encoder_depths=(2, 3), decoder_depths=(1, 2), inner=4,
        encoder_ffns=(2, 4), decoder_ffns=(2, 4), encoder_heads=(1, 2), decoder_heads=(1, 2), cross_heads=(1, 2),
        reaches=(1, 2),
    )  # fmt: skip


def test_the_gradient_by_samples_is_that_of_the_mixture() -> None:
    space = tiny()
    shared, ids = supernet(space), pairs(2, 3)
    soft = torch.rand(2, space.num_options, generator=seeded(3), dtype=torch.float64) + 0.2
    soft = torch.cat([part / part.sum(-1, keepdim=True) for part in soft.split(space.group_sizes, dim=-1)], dim=-1)
    y = torch.randint(VOCABULARY, (2, 3), generator=seeded(4))
    assert torch.autograd.gradcheck(lambda sample: shared.predict_from(ids, sample).losses(y), soft.requires_grad_())


def test_the_gradient_of_hard_samples_is_exact_or_leaves_out_heads_and_reaches_not_chosen() -> None:
    space, ids = tiny(), pairs(2, 3)
    shared, y = supernet(space), torch.randint(VOCABULARY, (2, 3), generator=seeded(4))
    found = {}
    for exact in (True, False):
        onehot = space.canonical(space.sample(3, seeded(5)).double()).requires_grad_()
        losses = shared.predict_from(ids, onehot, hard=True, exact=exact).losses(y)
        (found[exact],) = torch.autograd.grad(losses.sum(), onehot)
    (fixed, exact), (_, published) = (space.split(found[way]) for way in (True, False))
    _, chosen = space.split(onehot.detach())
    for name in ("encoder_heads", "decoder_heads", "cross_heads", "reach"):
        here = chosen[name] > 0
        torch.testing.assert_close(published[name][here], exact[name][here])
        assert not published[name][~here].any()
    assert exact["encoder_heads"][chosen["encoder_heads"] == 0].any()
    assert torch.allclose(published["encoder_ffn"], exact["encoder_ffn"]) and fixed[0].any()


@pytest.mark.parametrize("name", ["small", "elastic encoder"])
def test_the_gradient_by_weights_is_the_same_by_prefixes_and_by_masks(name: str) -> None:
    space, ids = TWINS[name], pairs(2, 5)
    shared, onehot = supernet(space), space.sample(6, seeded(2)).double()
    y = torch.randint(VOCABULARY, (2, 5), generator=seeded(4))
    gradients = []
    for sample in (onehot, onehot.clone().requires_grad_()):
        shared.zero_grad()
        shared.predict_from(ids, sample, hard=True).losses(y).sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in shared.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][name], gradient, atol=1e-9, rtol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_keys_are_those_of_fairseq() -> None:
    keys = set(supernet(TWINS["small"]).state_dict())
    assert {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} <= keys
    of_layer = {key.removeprefix("decoder.layers.0.") for key in keys if key.startswith("decoder.layers.0.")}
    attention = {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}
    norms = {"self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm", "fc1", "fc2"}
    assert of_layer == {f"{each}.{name}" for each in ("self_attn", "encoder_attn") for name in attention} | {
        f"{each}.{name}" for each in norms for name in ("weight", "bias")
    }


@pytest.mark.parametrize("gradient", ["exact", "published"])
def test_a_search_takes_the_gradient_that_it_is_asked_for(gradient: str) -> None:
    space = tiny()
    config = make_config(
        preset="hat-small",
        overrides=[f"architect.gradient={gradient}", "search.batch_size=4", "search.device=cpu", "space.reaches=[1,2]"],
    )
    texts = tuple((f"number {i}", f"Nummer {i}") for i in range(40))
    parts = {"train": list(texts[:20]), "validation": list(texts[20:30]), "test": list(texts[30:])}
    task = translation_of(Pairs("numbers", ("en", "de"), {"train": texts}), parts, Bytes(), 32)
    objective = SupernetObjective(config, space, task)
    objective.new_batch()
    onehot = space.canonical(space.sample(2, seeded(5))).requires_grad_()
    (found,) = torch.autograd.grad(objective.loss(onehot, hard=True).sum(), onehot)
    shared, (x, y) = objective.supernet, next(task.stream("validation", 4, config.seed + 2))
    losses = task.losses(shared.predict_from(x, onehot, hard=True, exact=gradient == "exact"), y)
    (wanted,) = torch.autograd.grad(losses.sum(), onehot)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    heads, chosen = (space.split(part.detach())[1]["encoder_heads"] for part in (found, onehot))
    assert bool(heads[chosen == 0].any()) == (gradient == "exact")
