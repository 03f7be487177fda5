"""The YAML in which HAT publishes its networks (`configs/*/subtransformer/*.yml`)."""

from __future__ import annotations

from typing import Any

import yaml

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.network import Shape

#: a network's keys end so; others of the file, such as those of training, are left alone
SUFFIX = "-subtransformer"
#: HAT's names by those of a shape
KEYS = {
    "encoder_width": "encoder-embed-dim",
    "encoder_ffns": "encoder-ffn-embed-dim-all",
    "encoder_heads": "encoder-self-attention-heads-all",
    "decoder_width": "decoder-embed-dim",
    "decoder_ffns": "decoder-ffn-embed-dim-all",
    "decoder_heads": "decoder-self-attention-heads-all",
    "cross_heads": "decoder-ende-attention-heads-all",
    "reaches": "decoder-arbitrary-ende-attn-all",
}
DEPTHS = {"encoder": "encoder-layer-num", "decoder": "decoder-layer-num"}
#: HAT's numbers for the reach of a decoder layer
REACHES = {-1: 1, 1: 2, 2: 3}


def is_published_form(text: str) -> bool:
    """Whether a text is meant as such a file."""
    return SUFFIX in text


def read_published_form(text: str) -> Shape:
    """The network that a file describes; of lists that are longer than the depth the first numbers count.

    Raises InputError that names the key that is missing or wrong.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"architecture: no readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"architecture: wanted keys such as {KEYS['encoder_width']}{SUFFIX}, got none")
    depths = {side: _number(content, key) for side, key in DEPTHS.items()}
    shape: dict[str, Any] = {}
    for name, key in KEYS.items():
        if name.endswith("width"):
            shape[name] = _number(content, key)
        else:
            shape[name] = _numbers(content, key, depths[key.partition("-")[0]])
    unknown = [number for number in shape["reaches"] if number not in REACHES]
    if unknown:
        raise InputError(f"architecture: {KEYS['reaches']}{SUFFIX} has {unknown[0]}; wanted -1, 1 or 2")
    shape["reaches"] = tuple(REACHES[number] for number in shape["reaches"])
    return Shape(**shape)


def _of(content: dict[Any, Any], key: str) -> Any:
    if key + SUFFIX not in content:
        raise InputError(f"architecture: the key {key}{SUFFIX} is missing")
    return content[key + SUFFIX]


def _number(content: dict[Any, Any], key: str) -> int:
    value = _of(content, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"architecture: {key}{SUFFIX}: wanted a whole number, got {value!r}")
    return value


def _numbers(content: dict[Any, Any], key: str, count: int) -> tuple[int, ...]:
    value = _of(content, key)
    whole = isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    if not whole or len(value) < count:
        raise InputError(f"architecture: {key}{SUFFIX}: wanted {count} whole numbers, got {value!r}")
    return tuple(value[:count])
