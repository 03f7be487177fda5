"""The gradients of a cell's convolutions, through their batch normalisation: written once for all that read them."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.cell_arguments import Cell, Run
from modnas_fast.kernels.cell_layout import (
    CONVOLUTION,
    edge_between,
    load_channels,
    load_pixels,
    operation_of,
    rounded,
    statistics_of,
    unit_of_convolution,
    unit_of_own_gradient,
)

_GROUP = 8  # tiles that one program writes


def differentiate(cell: Cell, run: Run, gradient: Tensor, means: Tensor, own: Tensor, target: int, first: int) -> None:
    """Writes the gradients of the convolutions into a node, from source `first` on, to `own` (see cell_layout).

    Args:
        gradient: units [T] of the node, whose means are there.
    """
    pixels, channels = cell.elementwise_pixels, cell.x.shape[-1]
    groups = triton.cdiv(cell.pixels, pixels * _GROUP)
    _differentiate[((target - first) * triton.cdiv(channels, cell.block) * groups * cell.devices,)](
        run.convolved,
        run.statistics,
        means,
        cell.sample,
        cell.active,
        gradient,
        own,
        target,
        first,
        *cell.room,
        cell.pixels,
        groups,
        _GROUP,
        C=channels,
        PIXELS=pixels,
        CHANNELS=cell.block,
        num_warps=4,
    )


@triton.jit(
    do_not_specialize=[
        "target", "first_source", "states", "devices", "first_kinds", "kinds", "pixels", "groups", "tiles",
    ]
)  # fmt: skip
def _differentiate(
    convolved,  # units, see cell_layout
    statistics,  # [6, 2, T, 2, C]
    means,  # [T, 6, 3, C], see mixed_reduction
    sample,  # [T, 6, 5]
    active,  # uint8 [T, 6, 5]
    gradient,  # units [T] of the target
    own,  # units [6, kinds, T]
    target,
    first_source,
    states,
    devices,
    first_kinds,
    kinds,
    pixels,
    groups,
    tiles,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """A group of tiles of pixels and channels of one edge and device.

    weight · rstd · (g - mean(g) - y · mean(g · y)) with y what the normalisation gave, g the target's gradient.
    """
    parts: tl.constexpr = (C + CHANNELS - 1) // CHANNELS
    sources = target - first_source
    program = tl.program_id(0)
    source, part = first_source + program % sources, program // sources % parts
    group, device = program // (sources * parts) % groups, program // (sources * parts) // groups
    operation = operation_of(device, source, target, CONVOLUTION)
    accumulator: tl.constexpr = sample.dtype.element_ty
    channel = part * CHANNELS + tl.arange(0, CHANNELS)
    size = pixels.to(tl.int64) * C
    mean = means + (device * 6 + edge_between(source, target)) * 3 * C
    unit = gradient + device * size
    last = tl.minimum(group * tiles + tiles, (pixels + PIXELS - 1) // PIXELS)
    for kind in range(2):
        if tl.load(active + operation + kind) != 0:
            read = unit_of_convolution(
                convolved, source, target, kind, device, states, devices, first_kinds, kinds, size
            )
            written = unit_of_own_gradient(own, source, target, kind, device, devices, kinds, size)
            moments = statistics_of(statistics, source, target, kind, device, states, devices, C)
            average, middle = load_channels(mean, channel, C), load_channels(moments, channel, C)
            scale = load_channels(moments + C, channel, C)
            slope = scale * load_channels(mean + (kind + 1) * C, channel, C)
            scale *= tl.load(sample + operation + kind)
            for tile in range(group * tiles, last):
                pixel = tile * PIXELS + tl.arange(0, PIXELS)
                inside = pixel < pixels
                grads = load_pixels(unit, pixel, inside, channel, C).to(accumulator) - average
                values = load_pixels(read, pixel, inside, channel, C).to(accumulator) - middle
                found = rounded(scale * (grads - values * slope), own.dtype.element_ty)
                place = written + pixel.to(tl.int64)[:, None] * C + channel[None, :]
                tl.store(place, found, mask=inside[:, None] & (channel < C)[None, :])
