"""The choices of encoder-decoders, their strings, the published form, and what has no influence."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.scales import SCALES
from modnas_fast.spaces.hat.space import HATSpace

PUBLISHED = """
# architecture of one network
encoder-embed-dim-subtransformer: 640
decoder-embed-dim-subtransformer: 512

encoder-ffn-embed-dim-all-subtransformer: [3072, 3072, 2048, 1024, 3072, 3072]
decoder-ffn-embed-dim-all-subtransformer: [1024, 2048, 3072]

encoder-layer-num-subtransformer: 6
decoder-layer-num-subtransformer: 2

encoder-self-attention-heads-all-subtransformer: [8, 8, 8, 8, 8, 4]
decoder-self-attention-heads-all-subtransformer: [4, 8, 8]
decoder-ende-attention-heads-all-subtransformer: [4, 8, 8]

decoder-arbitrary-ende-attn-all-subtransformer: [-1, 2, 1]
max-epoch: 40
"""


@pytest.mark.parametrize(("scale", "options"), [("space0", 101), ("space1", 131)])
def test_the_published_spaces(scale: str, options: int) -> None:
    space = HATSpace(scale)
    assert space.num_options == options
    names = [choice.name for choice in space.choices]
    assert names[:4] == ["encoder_width", "decoder_width", "encoder_depth", "decoder_depth"]
    kinds = ("encoder_ffn", "decoder_ffn", "encoder_heads", "decoder_heads", "cross_heads", "reach")
    assert names[4::6] == [f"{kind}_0" for kind in kinds]


@pytest.mark.parametrize("scale", SCALES)
def test_strings_parse_back_to_canonical_networks(scale: str) -> None:
    space = HATSpace(scale)
    onehot = space.sample(200, torch.Generator().manual_seed(0))
    canonical = space.canonical(onehot)
    for drawn, kept in zip(space.decode(onehot), space.decode(canonical)):
        assert drawn.text == kept.text and space.parse(drawn.text) == kept
    assert torch.equal(space.canonical(canonical), canonical)


def test_elastic_encoders_too() -> None:
    space = HATSpace("small", encoder_depths=(3, 5))
    onehot = space.sample(50, torch.Generator().manual_seed(0))
    canonical = space.decode(space.canonical(onehot))
    assert [space.parse(drawn.text) for drawn in space.decode(onehot)] == canonical
    assert {len(space.shape(network.indices).encoder_ffns) for network in canonical} == {3, 5}


@pytest.mark.parametrize("scale", SCALES)
def test_references_are_ten_canonical_networks_with_every_end(scale: str) -> None:
    space = HATSpace(scale)
    assert len(set(space.references)) == 10
    onehot = space.encode([space.parse(text) for text in space.references])
    assert torch.equal(space.canonical(onehot), onehot)
    for group in onehot.split(space.group_sizes, dim=-1):
        assert group[:, 0].any() and group[:, -1].any()


def test_the_published_form_is_read() -> None:
    network = HATSpace("space0").parse(PUBLISHED)
    assert network.text == "e640_f3072.3072.2048.1024.3072.3072_h8.8.8.8.8.4_d512_f1024.2048_h4.8_x4.8_r1.3"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("decoder-layer-num-subtransformer: 2", ""), "the key decoder-layer-num-subtransformer is missing"),
        (("[1024, 2048, 3072]", "[1024]"), "decoder-ffn-embed-dim-all-subtransformer: wanted 2 whole numbers"),
        (("[-1, 2, 1]", "[-1, 3]"), "decoder-arbitrary-ende-attn-all-subtransformer has 3; wanted -1, 1 or 2"),
        (("layer-num-subtransformer: 6", "layer-num-subtransformer: six"), "wanted a whole number, got 'six'"),
        (("[4, 8, 8]\ndecoder-ende", "[4, 8, 8\ndecoder-ende"), "no readable YAML"),
        (("dim-subtransformer: 640", "dim-subtransformer: 641"), "encoder width 641 in the published form; wanted one"),
    ],
)
def test_published_forms_with_faults(change: tuple[str, str], told: str) -> None:
    text = PUBLISHED.replace(*change)
    assert text != PUBLISHED
    with pytest.raises(InputError, match=told.replace("[", r"\[")):
        HATSpace("space0").parse(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("|nor_conv~0|", "wanted e96_f64"),
        ("e96_f64.64_h2.2.2_d64_f64_h2_x2_r1", "has 2 encoder layers by their feed-forward sizes, and 3 numbers of"),
        ("e96_f64.64.64_h2.2.2_d64_f64.64_h2_x2_r1", "has 2 decoder layers .* and 1 numbers of decoder heads"),
        ("e97_f64.64.64_h2.2.2_d64_f64_h2_x2_r1", "encoder width 97 .* wanted one of 64, 96, 128"),
        ("e96_f64.64_h2.2_d64_f64_h2_x2_r1", "encoder depth 2 .* wanted one of 3"),
        ("e96_f64.64.64_h2.2.3_d64_f64_h2_x2_r1", "encoder heads 3 .* wanted one of 2, 4"),
    ],
)
def test_strings_that_are_no_network(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        HATSpace("small").parse(text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": "space2"}, "space.scale: wanted one of small, space0, space1, got 'space2'"),
        ({"decoder_ffns": (64, 32)}, "space.decoder_ffns: wanted rising"),
        ({"cross_heads": (3,)}, "space.cross_heads: wanted divisors of inner, 128, got .3."),
        ({"encoder_depths": (2, 3)}, "space.reaches: wanted at most the 2 layers of the shallowest encoder, got 3"),
        ({"layers": 3}, "space.layers: unknown; wanted some of encoder_widths"),
    ],
)
def test_options_that_make_no_space(options: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        HATSpace(**options)


def test_features_are_the_ten_averages_that_latencies_are_published_by() -> None:
    space = HATSpace("space0")
    network = space.parse(PUBLISHED)
    largest = torch.tensor([640, 6, 3072, 8, 640, 6, 3072, 8, 8, 3], dtype=torch.float64)
    wanted = torch.tensor([640, 6, 15360 / 6, 44 / 6, 512, 2, 1536, 6, 6, 2], dtype=torch.float64) / largest
    torch.testing.assert_close(space.features(space.encode([network]).double())[0], wanted)
    sample = space.sample(3, torch.Generator().manual_seed(0)).double() * 0.8 + 0.05
    assert torch.autograd.gradcheck(space.features, sample.requires_grad_())
