"""What latencies of encoder-decoders are linear in, and samples of the space by the averages that were published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:
    from modnas_fast.spaces.hat.space import HATSpace

#: places of the features by side: width, layers, and means over the layers
ENCODER, DECODER = (0, 1, (2, 3)), (4, 5, (6, 7, 8, 9))


def details_of(features: Tensor) -> Tensor:
    """The ten features [..., 10] and products of them [..., 25]: what all layers of a side have of a mean together.

    A layer's time grows with its sizes, and with those times its width: layers × mean, and layers × width × mean, of
    either side; a decoder's layer also reads what is as wide as the encoder.
    """
    found = [features]
    for width, layers, means in (ENCODER, DECODER):
        of_layers = torch.cat([features[..., [width]], features[..., list(means)]], dim=-1)
        found.append(features[..., [layers]] * of_layers)
        found.append(features[..., [layers]] * features[..., [width]] * features[..., list(means)])
    found.append(features[..., [DECODER[1]]] * features[..., [ENCODER[0]]])
    return torch.cat(found, dim=-1)


def samples_of(space: HATSpace, averages: Tensor) -> Tensor:
    """Relaxed samples [n, N], float64, whose features are those of networks with these averages.

    A mean that lies between two options is a mixture of them, the same in every layer; one below the first or above
    the last is a mixture with a negative share. Widths and numbers of layers that the space has not are such mixtures,
    too.

    Args:
        space: of the samples.
        averages: [n, 10] in units: channels, layers, heads, and how many encoder layers a decoder layer sees.

    Raises InputError where the space has one option only, and a network another.
    """
    from modnas_fast.spaces.hat.space import GROUPS

    scale, columns = space.scale, averages.double().unbind(-1)
    places = {
        "encoder_ffn": 2,
        "encoder_heads": 3,
        "decoder_ffn": 6,
        "decoder_heads": 7,
        "cross_heads": 8,
        "reach": 9,
    }
    fixed = (
        (0, scale.encoder_widths),
        (4, scale.decoder_widths),
        (1, scale.encoder_depths),
        (5, scale.decoder_depths),
    )
    parts = [_shares(columns[place], options) for place, options in fixed]
    for group in GROUPS:
        share = _shares(columns[places[group.name]], getattr(scale, group.options))
        parts += [share] * space.layers_of(group)
    return torch.cat(parts, dim=-1)


def _shares(values: Tensor, options: Sequence[int]) -> Tensor:
    """Shares [n, options] of the two options next to each value whose mean it is."""
    sizes = torch.tensor(options, dtype=torch.float64)
    if len(options) == 1:
        other = values[values != sizes[0]]
        if len(other):
            raise InputError(f"space: networks of the table have {other[0]:g} where the space has {options[0]} alone")
        return torch.ones(len(values), 1, dtype=torch.float64)
    lower = (torch.searchsorted(sizes, values.contiguous(), right=True) - 1).clamp(0, len(options) - 2)
    upper_share = (values - sizes[lower]) / (sizes[lower + 1] - sizes[lower])
    shares = torch.zeros(len(values), len(options), dtype=torch.float64)
    shares.scatter_(1, lower[:, None], 1 - upper_share[:, None])
    return shares.scatter_(1, lower[:, None] + 1, upper_share[:, None])
