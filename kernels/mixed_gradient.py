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


def differentiate(cell: Cell, run: Run, gradient: Tensor, means: Tensor, own: Tensor, target: int, first: int) -> None:
    """Writes the gradients of the convolutions into a node, from source `first` on, to `own` (see cell_layout).

    Args:
        gradient: units [T] of the node, whose means are there.
    """
    pixels, channels = cell.elementwise_pixels, cell.x.shape[-1]
    count = triton.cdiv(cell.pixels, pixels)
    _differentiate[((target - first) * triton.cdiv(channels, cell.block) * count * cell.devices,)](
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
        count,
        C=channels,
        PIXELS=pixels,
        CHANNELS=cell.block,
        num_warps=4,
    )


@triton.jit(
    do_not_specialize=["target", "first_source", "states", "devices", "first_kinds", "kinds", "pixels", "tiles"]
)
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
    tiles,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """One tile of pixels and channels of one edge and device.

    weight · rstd · (g - mean(g) - y · mean(g · y)) with y what the normalisation gave, g the target's gradient.
    """
    parts: tl.constexpr = (C + CHANNELS - 1) // CHANNELS
    sources = target - first_source
    program = tl.program_id(0)
    source, part = first_source + program % sources, program // sources % parts
    tile, device = program // (sources * parts) % tiles, program // (sources * parts) // tiles
    operation = operation_of(device, source, target, CONVOLUTION)
    if (tl.load(active + operation) | tl.load(active + operation + 1)) == 0:
        return

    accumulator: tl.constexpr = sample.dtype.element_ty
    channel, pixel = part * CHANNELS + tl.arange(0, CHANNELS), tile * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    size = pixels.to(tl.int64) * C
    mean = means + (device * 6 + edge_between(source, target)) * 3 * C
    grads = load_pixels(gradient + device * size, pixel, inside, channel, C).to(accumulator)
    grads -= load_channels(mean, channel, C)
    for kind in range(2):
        if tl.load(active + operation + kind) != 0:
            read = unit_of_convolution(
                convolved, source, target, kind, device, states, devices, first_kinds, kinds, size
            )
            moments = statistics_of(statistics, source, target, kind, device, states, devices, C)
            scale = load_channels(moments + C, channel, C)
            slope = scale * load_channels(mean + (kind + 1) * C, channel, C)
            values = load_pixels(read, pixel, inside, channel, C).to(accumulator)
            centred = values - load_channels(moments, channel, C)
            found = tl.load(sample + operation + kind) * scale * (grads - centred * slope)
            written = unit_of_own_gradient(own, source, target, kind, device, devices, kinds, size)
            written += pixel.to(tl.int64)[:, None] * C + channel[None, :]
            tl.store(written, rounded(found, own.dtype.element_ty), mask=inside[:, None] & (channel < C)[None, :])
