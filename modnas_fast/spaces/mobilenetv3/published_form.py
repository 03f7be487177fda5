"""The forms in which Once-for-All writes its networks: dictionaries of choices, and descriptions of whole networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.mobilenetv3.scales import Shape

#: what a text of these forms has and a string of the space has not
MARK = ":"
#: where a configuration of a network may tell the side of its images; OFA's has it in a file beside
RESOLUTION = ("r", "resolution", "image_size")
_LACKS_RESOLUTION = (
    "architecture: the resolution is missing: add one of the keys " + ", ".join(RESOLUTION) + ", such as r: 160"
)


def is_published_form(text: str) -> bool:
    """Whether a text is meant as such a form."""
    return MARK in text


def read_published_form(text: str, stages: int) -> Shape:
    """The network of a JSON or YAML text.

    Either `ks`, `e` (kernels and expansions, of every place for a block), `d` (blocks of each stage) and `r` (the
    resolution), of which those of absent blocks do not count; or the configuration of a network, `blocks` among its
    keys, with its resolution as `r`, `resolution` or `image_size`.

    Raises InputError that names the key that is missing or wrong.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"architecture: no readable JSON or YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError("architecture: wanted keys such as ks, e, d and r, got none")
    return _of_network(content, stages) if "blocks" in content else _of_choices(content, stages)


def _of_choices(content: Mapping[Any, Any], stages: int) -> Shape:
    kernels, expansions, depths = (_numbers(content, key) for key in ("ks", "e", "d"))
    if len(depths) != stages:
        raise InputError(f"architecture: d: wanted {stages} numbers, one per stage, got {len(depths)}")
    places = len(kernels) // stages
    for key, numbers in (("ks", kernels), ("e", expansions)):
        if len(numbers) != stages * places or places < max(depths):
            raise InputError(
                f"architecture: {key}: wanted as many numbers for each of {stages} stages, {max(depths)} at least, got "
                f"{len(numbers)}"
            )

    def per_stage(numbers: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(numbers[stage * places :][:depth]) for stage, depth in enumerate(depths))

    return Shape(_resolution(content), per_stage(kernels), per_stage(expansions))


def _of_network(content: Mapping[Any, Any], stages: int) -> Shape:
    """A stage begins with each block whose output differs from its input in size or width."""
    blocks = content["blocks"]
    if not isinstance(blocks, list) or len(blocks) < 2:
        raise InputError("architecture: blocks: wanted a list of the network's blocks, the first of all among them")
    kernels: list[list[int]] = []
    expansions: list[list[int]] = []
    for place, block in enumerate(blocks[1:], start=1):  # the first is the same in all networks
        layer = block.get("mobile_inverted_conv") or block.get("conv") if isinstance(block, dict) else None
        if not isinstance(layer, dict):
            raise InputError(f"architecture: blocks[{place}] has no mobile_inverted_conv")
        where = f"blocks[{place}]."
        stride, taken, given = (_number(layer, key, where) for key in ("stride", "in_channels", "out_channels"))
        if stride != 1 or taken != given or not kernels:
            kernels.append([])
            expansions.append([])
        kernels[-1].append(_number(layer, "kernel_size", where))
        expansions[-1].append(_number(layer, "expand_ratio", where))
    if len(kernels) != stages:
        raise InputError(f"architecture: blocks: wanted {stages} stages, got {len(kernels)}")
    return Shape(_resolution(content), tuple(map(tuple, kernels)), tuple(map(tuple, expansions)))


def _resolution(content: Mapping[Any, Any]) -> int:
    key = next((key for key in RESOLUTION if key in content), None)
    if key is None:
        raise InputError(_LACKS_RESOLUTION)
    value = content[key]
    if isinstance(value, list) and value and all(each == value[0] for each in value):
        value = value[0]  # OFA's dictionaries have a list of one, its run configurations may have height and width
    return _number({key: value}, key, "")


def _number(content: Mapping[Any, Any], key: str, where: str) -> int:
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise InputError(f"architecture: {where}{key}: wanted a whole number, got {value!r}")
    return int(value)


def _numbers(content: Mapping[Any, Any], key: str) -> list[int]:
    value = content.get(key)
    if not isinstance(value, list) or any(isinstance(n, bool) or not isinstance(n, int) for n in value):
        raise InputError(f"architecture: {key}: wanted a list of whole numbers, got {value!r}")
    return value
