"""Samples by published averages, and what latencies are linear in."""

from __future__ import annotations

import pytest
import torch
from hat_tables import LARGEST, averages
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.details import details_of, samples_of
from modnas_fast.spaces.hat.space import HATSpace

WIDE = HATSpace("space1")


@pytest.mark.parametrize("scale", ["space0", "space1"])
def test_a_row_s_sample_has_the_features_of_its_network(scale: str) -> None:
    space, rows = HATSpace(scale), averages(WIDE, 200, seed=0)  # space 0 has no 512 channels and no 2 heads
    samples = samples_of(space, rows)
    assert samples.shape == (200, space.num_options)
    torch.testing.assert_close(space.features(samples), rows / LARGEST, rtol=0, atol=1e-10)
    torch.testing.assert_close(space.features(space.canonical(samples)), rows / LARGEST, rtol=0, atol=1e-10)
    sums = torch.stack([group.sum(-1) for group in samples.split(space.group_sizes, dim=-1)])
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)
    assert (samples < 0).any() == (scale == "space0")


def test_a_network_alike_in_all_layers_is_its_own_sample() -> None:
    space = HATSpace("space0")
    text = "e640_f2048.2048.2048.2048.2048.2048_h4.4.4.4.4.4_d512_f1024.1024_h8.8_x4.4_r3.3"
    onehot = space.encode([space.parse(text)]).double()
    found = space.canonical(samples_of(space, space.features(onehot) * LARGEST))
    torch.testing.assert_close(found, space.canonical(onehot), rtol=0, atol=1e-12)


def products(features: Tensor) -> list[float]:
    """The products of one network's features, one by one."""
    width_e, layers_e, ffn_e, heads_e, width_d, layers_d, ffn_d, heads_d, cross, reach = features.tolist()
    encoder = [layers_e * width_e, layers_e * ffn_e, layers_e * heads_e]
    encoder += [layers_e * width_e * ffn_e, layers_e * width_e * heads_e]
    decoder = [layers_d * mean for mean in (width_d, ffn_d, heads_d, cross, reach)]
    decoder += [layers_d * width_d * mean for mean in (ffn_d, heads_d, cross, reach)]
    return [*encoder, *decoder, layers_d * width_e]


def test_details_are_features_and_what_all_layers_have_of_them() -> None:
    features = torch.rand(4, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = details_of(features)
    assert torch.equal(found[:, :10], features)
    wanted = torch.tensor([products(row) for row in features], dtype=torch.float64)
    torch.testing.assert_close(found[:, 10:], wanted, rtol=0, atol=1e-12)
    onehot = WIDE.sample(3, torch.Generator().manual_seed(2)).double()
    assert torch.equal(WIDE.details(onehot), details_of(WIDE.features(onehot)))


def test_a_space_with_one_option_takes_no_others() -> None:
    rows = averages(WIDE, 5, seed=0)
    rows[3, 1] = 4
    with pytest.raises(InputError, match="networks of the table have 4 where the space has 6 alone"):
        samples_of(HATSpace("space0"), rows)
