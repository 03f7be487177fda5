"""The choices of MobileNetV3s, their strings, the published forms, and what has no influence."""

from __future__ import annotations

import json

import pytest
import torch

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.mobilenetv3.scales import SCALES, channels, middle_channels
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

TEXT = "r204_k7.5-5.7.5-7.3-5.7.3-7.3.5_e6.4-6.3.4-4.6-6.3.3-6.4.3"
CHOICES = {
    "ks": [7, 5, 3, 3, 5, 7, 5, 0, 7, 3, 3, 5, 5, 7, 3, 3, 7, 3, 5, 7],
    "e": [6, 4, 3, 3, 6, 3, 4, 0, 4, 6, 3, 4, 6, 3, 3, 3, 6, 4, 3, 3],
    "d": [2, 3, 2, 3, 3],
    "r": [204],
}


def network_config(**changes: object) -> dict[str, object]:
    """The network of `CHOICES` as Once-for-All writes it, as far as it is read."""
    widths, strides = (24, 32, 48, 96, 136, 192), (2, 2, 2, 1, 2)
    blocks: list[object] = [{"mobile_inverted_conv": {"kernel_size": 3, "expand_ratio": 1, "stride": 1}}]
    for stage, depth in enumerate(CHOICES["d"]):
        for layer in range(depth):
            place = 4 * stage + layer
            conv = {
                "name": "MBInvertedConvLayer",
                "in_channels": widths[stage + (layer > 0)],
                "out_channels": widths[stage + 1],
                "kernel_size": CHOICES["ks"][place],
                "stride": 1 if layer else strides[stage],
                "expand_ratio": CHOICES["e"][place],
            }
            blocks.append({"name": "MobileInvertedResidualBlock", "mobile_inverted_conv": conv, "shortcut": None})
    return {"name": "MobileNetV3", "blocks": blocks, "image_size": 204, **changes}


def test_the_published_space_has_160_options_in_the_published_order() -> None:
    space = MobileNetV3Space("published")
    assert space.num_options == 160
    names = [choice.name for choice in space.choices]
    assert names[0] == "kernel_0_0" and names[19] == "kernel_4_3" and names[20] == "expansion_0_0"
    assert names[40:] == ["resolution", *(f"depth_{stage}" for stage in range(5))]
    assert space.choices[40].options[::24] == ("r128", "r224")


def test_widths_are_the_published_ones() -> None:
    scale = SCALES["published"]
    assert (scale.stem_channels, scale.first_channels, *scale.stage_channels) == (24, 24, 32, 48, 96, 136, 192)
    assert (scale.final_channels, scale.mix_channels) == (1152, 1536)
    assert [middle_channels(136, ratio) for ratio in scale.expansions] == [408, 544, 816]
    assert [channels(1.0 * base) for base in (16, 24, 40, 80, 112, 160)] == [16, 24, 40, 80, 112, 160]


@pytest.mark.parametrize("scale", SCALES)
def test_strings_parse_back_to_canonical_networks(scale: str) -> None:
    space = MobileNetV3Space(scale)
    onehot = space.sample(200, torch.Generator().manual_seed(0))
    canonical = space.canonical(onehot)
    for drawn, kept in zip(space.decode(onehot), space.decode(canonical)):
        assert drawn.text == kept.text and space.parse(drawn.text) == kept
    assert torch.equal(space.canonical(canonical), canonical)
    assert not torch.equal(canonical, onehot)


@pytest.mark.parametrize(
    "options", [{}, {"scale": "published"}, {"kernels": (3, 5), "depths": (1, 3), "resolutions": (32, 48), "width": 1}]
)
def test_references_are_ten_canonical_networks(options: dict[str, object]) -> None:
    space = MobileNetV3Space(**options)  # type: ignore[arg-type]
    assert len(set(space.references)) == 10
    onehot = space.encode([space.parse(text) for text in space.references])
    assert torch.equal(space.canonical(onehot), onehot)
    assert torch.linalg.matrix_rank(onehot.double()) == 10
    smallest, largest = space.ends
    assert (torch.tensor(smallest.indices) == 0).all()
    assert largest.indices == tuple(size - 1 for size in space.group_sizes)


def test_the_published_forms_are_read() -> None:
    space = MobileNetV3Space("published")
    assert space.parse(json.dumps(CHOICES)).text == TEXT
    assert space.parse("ks: {ks}\ne: {e}\nd: {d}\nr: 204".format(**CHOICES)).text == TEXT
    assert space.parse(json.dumps(network_config())).text == TEXT


def _without(key: str) -> str:
    return json.dumps({name: value for name, value in CHOICES.items() if name != key})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("r200", "wanted r196_k"),
        (TEXT.replace("r204", "r203"), "resolution 203"),
        (TEXT.replace("k7", "k9"), "kernel 9"),
        (TEXT.replace("e6.4-", "e6-"), "expansions of [1, 3, 2, 3, 3]"),
        (TEXT.replace("k7.5-", "k7-").replace("e6.4-", "e6-"), "depth 1"),
        (_without("r"), "resolution is missing"),
        (_without("e"), "e: wanted a list"),
        (json.dumps({**CHOICES, "d": [2, 2]}), "d: wanted 5 numbers"),
        (json.dumps({**CHOICES, "ks": [3] * 19}), "ks: wanted as many"),
        (json.dumps({**CHOICES, "r": 100}), "resolution 100"),
        (json.dumps(network_config(image_size=None)), "image_size: wanted a whole number"),
        (json.dumps(network_config(blocks=[{}, {"conv": {"stride": 2}}])), "blocks[1].in_channels"),
        ("{ks: [", "no readable JSON or YAML"),
    ],
)
def test_what_is_wrong_with_a_network_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        MobileNetV3Space("published").parse(text)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": "large"}, "space.scale: wanted one of small, published"),
        ({"kernels": (3, 4)}, "space.kernels: wanted odd"),
        ({"resolutions": (96, 64)}, "space.resolutions: wanted rising"),
        ({"resolutions": (16, 64)}, "from 32 on"),
        ({"width": 0.0}, "space.width"),
        ({"stages": (8,)}, "space.stages: unknown"),
    ],
)
def test_what_is_wrong_with_a_space_is_told(options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        MobileNetV3Space(**options)  # type: ignore[arg-type]
