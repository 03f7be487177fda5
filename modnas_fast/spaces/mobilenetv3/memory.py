"""How much memory a pass through the supernet of a MobileNetV3 space takes.

Of B images a block with c channels in, m inside and o out, at h × h pixels before its depth-wise convolution and g × g
behind it, keeps until the backward pass, in numbers,

    B · (m · (3 h² + 4 g²) + 2 o g²)            computed with prefixes
    B · (m · (3 h² + 6 g²) + 3 o g²)            with masks, whatever the network

(inputs of normalisations, activations and convolutions), the stem 3, the first block 5 and the last expansion 3 images
of their channels, at most: what fuses normalisation and activation keeps a third less. Formulas below are those of the
largest network at its largest resolution. Beside them, each part of the samples leaves gradients by all weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import SHARE
from modnas_fast.spaces.mobilenetv3.scales import Scale, middle_channels
from modnas_fast.supernets.supernet import Computed, Plan

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.shared import SharedWeights

#: networks whose quality is computed side by side, at most
EVALUATED_TOGETHER = 16
#: images of the widest layer that exist for a while
WORKING = 6


def kept_numbers(scale: Scale, masks: bool) -> int:
    """Numbers that the largest network keeps of one image.

    >>> from modnas_fast.spaces.mobilenetv3.scales import SCALES
    >>> kept_numbers(SCALES["small"], masks=False)
    1775232
    """
    of_middle, of_output = (6, 3) if masks else (4, 2)
    side = -(-scale.resolutions[-1] // 2)
    kept = (3 * scale.stem_channels + 3 * scale.stem_channels + 2 * scale.first_channels) * side**2
    for middle, outputs, before, after in _blocks(scale):
        kept += middle * (3 * before**2 + of_middle * after**2) + of_output * outputs * after**2
        side = after
    return kept + 3 * scale.final_channels * side**2


def largest_layer(scale: Scale) -> int:
    """Numbers of the widest layer of one image."""
    side = -(-scale.resolutions[-1] // 2)
    return max(scale.stem_channels * side**2, *(middle * before**2 for middle, _, before, _ in _blocks(scale)))


def _blocks(scale: Scale) -> Iterator[tuple[int, int, int, int]]:
    """Channels inside and out, sides before and behind the depth-wise convolution."""
    side = -(-scale.resolutions[-1] // 2)
    for stage, outputs in enumerate(scale.stage_channels):
        for layer in range(scale.layers):
            after = side if layer else -(-side // scale.strides[stage])
            yield middle_channels(scale.channels_into(stage, layer), scale.expansions[-1]), outputs, side, after
            side = after


def plan(supernet: SharedWeights, x: Tensor, computed: Computed, samples: int, free: int | None, workers: int) -> Plan:
    """One of `samples` at a time on a CPU, for layers leave nothing to share; on a GPU as many as fit.

    Args:
        supernet: whose scale and weights count.
        x: the minibatch; its shape, type and device matter alone.
        computed, free, workers: as in `Supernet.plan`.

    Raises InputError where the activations of one network take more than there is.
    """
    scale, batch = supernet.scale, len(x)
    masks = computed != "weights"
    kept = batch * kept_numbers(scale, masks) * (len(scale.resolutions) if computed == "soft" else 1)
    one = (kept + batch * WORKING * largest_layer(scale)) * x.element_size()
    gradients = 4 * sum(weight.numel() for weight in supernet.parameters()) if computed == "weights" else 0
    if free is not None and workers * one + samples * gradients > free:
        raise InputError(
            f"search.batch_size: one network on {batch} images takes up to {one / 1e9:.3g} GB, of which "
            f"{free / 1e9:.3g} GB are free for {workers} at a time; lower it, or space.resolutions or space.width"
        )
    if x.device.type == "cpu" or free is None:
        return Plan(1, recompute=False)
    return Plan(max(1, min(samples, int((SHARE * free - samples * gradients) // one))), recompute=False)


def networks_at_a_time(supernet: SharedWeights, x: Tensor, free: int | None) -> int:
    """How many networks are predicted in one call without a gradient: at most `EVALUATED_TOGETHER`.

    They are computed one after the other, on a CPU one per thread. Raises InputError where not even one fits.
    """
    one = len(x) * WORKING * largest_layer(supernet.scale) * x.element_size()
    if free is not None and one > free:
        raise InputError(
            f"evaluation.batch_size: a network on {len(x)} images at a time takes about {one / 1e9:.3g} GB, of which "
            f"{free / 1e9:.3g} GB are free; lower it, or space.resolutions or space.width"
        )
    return EVALUATED_TOGETHER if free is None else max(1, min(EVALUATED_TOGETHER, int(SHARE * free // one)))
