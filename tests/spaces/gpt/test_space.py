"""The choices of GPTs, their strings, and what has no influence."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.gpt.scales import SCALES
from modnas_fast.spaces.gpt.space import GPTSpace


@pytest.mark.parametrize(("scale", "options"), [("s", 80), ("m", 152), ("l", 224)])
def test_the_published_scales(scale: str, options: int) -> None:
    space = GPTSpace(scale)
    assert space.num_options == options
    names = [choice.name for choice in space.choices]
    layers = SCALES[scale].layers
    assert names[:2] == ["width", "depth"] and names[-1] == "bias" and len(names) == 3 + 2 * layers
    assert names[2 : 2 + layers] == [f"ratio_{i}" for i in range(layers)]


@pytest.mark.parametrize("scale", SCALES)
def test_strings_parse_back_to_canonical_networks(scale: str) -> None:
    space = GPTSpace(scale)
    onehot = space.sample(200, torch.Generator().manual_seed(0))
    canonical = space.canonical(onehot)
    for drawn, kept in zip(space.decode(onehot), space.decode(canonical)):
        assert drawn.text == kept.text and space.parse(drawn.text) == kept
    assert torch.equal(space.canonical(canonical), canonical)


@pytest.mark.parametrize("scale", SCALES)
def test_references_are_ten_networks_with_every_option_of_the_ends(scale: str) -> None:
    space = GPTSpace(scale)
    assert len(set(space.references)) == 10
    networks = [space.parse(text) for text in space.references]
    onehot = space.encode(networks)
    assert torch.equal(space.canonical(onehot), onehot)
    first, last = space.canonical(onehot)[:, :3].any(0), onehot[:, -2:].any(0)
    assert first.all() and last.all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("|nor_conv~0|", "wanted e64_l2"),
        ("e64_l2_m2.4_h4_nobias", "has 2 layers, 2 MLP ratios and 1 numbers of heads"),
        ("e65_l2_m2.4_h4.4_nobias", "width 65 .* wanted one of 32, 64, 96"),
        ("e64_l2_m2.5_h4.4_bias", "MLP ratio 5 .* wanted one of 2, 3, 4"),
        ("e64_l9_m2_h4_bias", "has 9 layers, 1 MLP"),
        ("e64_l2_m2._h4.4_bias", "MLP ratio 0"),
    ],
)
def test_strings_that_are_no_network(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        GPTSpace("small").parse(text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": "xl"}, "space.scale: wanted one of small, s, m, l, got 'xl'"),
        ({"widths": (64, 32)}, "space.widths: wanted rising"),
        ({"heads": (0, 2)}, "space.heads: wanted rising"),
        ({"head_size": 6}, "space.head_size: wanted a multiple of 4"),
    ],
)
def test_options_that_make_no_space(options: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        GPTSpace(**options)


@pytest.mark.parametrize("scale", SCALES)
def test_the_ends_are_the_smallest_and_the_largest_network_whatever_the_references_are(scale: str) -> None:
    space = GPTSpace(scale)
    smallest, largest = (space.shape(network.indices) for network in space.ends)
    for end, at in ((smallest, 0), (largest, -1)):
        layers = space.scale.depths[at]
        assert end.width == space.scale.widths[at] and end.bias == bool(at)
        assert end.ratios == (space.scale.ratios[at],) * layers and end.heads == (space.scale.heads[at],) * layers
