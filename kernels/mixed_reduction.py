"""Sums over images and pixels on a cell's way back: means for batch normalisation, gradients of the sample."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.cell_arguments import Cell, Run
from modnas_fast.kernels.cell_layout import (
    CONVOLUTION,
    OPERATIONS,
    POOL,
    SKIP,
    edge_between,
    load_channels,
    load_pixels,
    operation_of,
    statistics_of,
    unit_of_convolution,
    unit_of_node,
)
from modnas_fast.kernels.mixed_sum import average

# Sums per channel of one edge, by operation: ⟨gradient, value⟩, and in place of `none` that of the gradient alone,
# which is the same for all edges into a node and is kept for source 0 only.
_ALONE = tl.constexpr(0)

_GROUP = 8  # tiles that one program sums


def reduce_gradient(
    cell: Cell, run: Run, gradient: Tensor, means: Tensor, sample_gradient: Tensor | None, target: int
) -> None:
    """Writes the means [T, 6, 3, C] and, where given, the sample's gradient for all edges into a node.

    Args:
        gradient: units [T] of the node.
    """
    pixels, channels, devices = cell.elementwise_pixels, cell.x.shape[-1], cell.devices
    groups = triton.cdiv(cell.pixels, pixels * _GROUP)
    partial = cell.sums(devices, groups, target, 5, channels)
    _reduce_gradient[(target * triton.cdiv(channels, cell.block) * groups * devices,)](
        cell.x,
        *run,
        cell.active,
        gradient,
        partial,
        target,
        *cell.room,
        *cell.image,
        groups,
        _GROUP,
        C=channels,
        PIXELS=pixels,
        CHANNELS=cell.block,
        SAMPLES=sample_gradient is not None,
        num_warps=4,
    )
    _add_groups[(target * devices,)](
        partial,
        cell.active,
        means,
        means if sample_gradient is None else sample_gradient,
        target,
        devices,
        cell.pixels,
        groups,
        C=channels,
        GROUPS=cell.sums_at_a_time(groups),
        CHANNELS=cell.block,
        SAMPLES=sample_gradient is not None,
        num_warps=8,
    )


@triton.jit(
    do_not_specialize=[
        "target", "states", "devices", "first_kinds", "kinds", "pixels", "height", "width", "groups", "tiles",
    ]
)  # fmt: skip
def _reduce_gradient(
    x,  # units [S]
    nodes,  # units [2, T]
    convolved,  # units, see cell_layout
    statistics,  # [6, 2, T, 2, C]
    active,  # uint8 [T, 6, 5]
    gradient,  # units [T] of the target
    partial,  # [T, groups, target, 5, C]
    target,
    states,
    devices,
    first_kinds,
    kinds,
    pixels,
    height,
    width,
    groups,
    tiles,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    SAMPLES: tl.constexpr,
):
    """The sums of one edge over a group of tiles; those of identity and average where SAMPLES wants them."""
    parts: tl.constexpr = (C + CHANNELS - 1) // CHANNELS
    program = tl.program_id(0)
    source, part = program % target, program // target % parts
    group, device = program // (target * parts) % groups, program // (target * parts) // groups
    first = operation_of(device, source, target, 0)
    skip = SAMPLES & (tl.load(active + first + SKIP) != 0)
    pool = SAMPLES & (tl.load(active + first + POOL) != 0)
    small = tl.load(active + first + CONVOLUTION) != 0
    large = tl.load(active + first + CONVOLUTION + 1) != 0
    if ((source == 0) | skip | pool | small | large) == 0:
        return

    accumulator: tl.constexpr = partial.dtype.element_ty
    size = pixels.to(tl.int64) * C
    channel = part * CHANNELS + tl.arange(0, CHANNELS)
    gradients = gradient + device * size
    unit = unit_of_node(x, nodes, source, device, states, devices, size)
    sums = partial + ((device.to(tl.int64) * groups + group) * target + source) * OPERATIONS * C + channel
    alone = tl.zeros((PIXELS, CHANNELS), dtype=accumulator)
    with_x = tl.zeros((PIXELS, CHANNELS), dtype=accumulator)
    with_average = tl.zeros((PIXELS, CHANNELS), dtype=accumulator)
    with_small = tl.zeros((PIXELS, CHANNELS), dtype=accumulator)
    with_large = tl.zeros((PIXELS, CHANNELS), dtype=accumulator)
    last = tl.minimum(group * tiles + tiles, (pixels + PIXELS - 1) // PIXELS)
    for tile in range(group * tiles, last):
        pixel = tile * PIXELS + tl.arange(0, PIXELS)
        inside = pixel < pixels
        grad = load_pixels(gradients, pixel, inside, channel, C).to(accumulator)
        alone += grad
        if skip:
            with_x += grad * load_pixels(unit, pixel, inside, channel, C).to(accumulator)
        if pool:
            with_average += grad * average(unit, pixel, pixels, height, width, channel, C, accumulator)
        if small:
            with_small += grad * _normalised(
                convolved, statistics, source, target, 0, device, states, devices, first_kinds, kinds, size,
                pixel, inside, channel, C, accumulator,
            )  # fmt: skip
        if large:
            with_large += grad * _normalised(
                convolved, statistics, source, target, 1, device, states, devices, first_kinds, kinds, size,
                pixel, inside, channel, C, accumulator,
            )  # fmt: skip
    mask = channel < C
    tl.store(sums + _ALONE * C, tl.sum(alone, axis=0), mask=mask)
    tl.store(sums + SKIP * C, tl.sum(with_x, axis=0), mask=mask)
    tl.store(sums + CONVOLUTION * C, tl.sum(with_small, axis=0), mask=mask)
    tl.store(sums + (CONVOLUTION + 1) * C, tl.sum(with_large, axis=0), mask=mask)
    tl.store(sums + POOL * C, tl.sum(with_average, axis=0), mask=mask)


@triton.jit
def _normalised(
    convolved, statistics, source, target, kind, device, states, devices, first_kinds, kinds, size,
    pixel, inside, channel, C: tl.constexpr, DTYPE: tl.constexpr,
):  # fmt: skip
    """A tile of a convolution after batch normalisation."""
    unit = unit_of_convolution(convolved, source, target, kind, device, states, devices, first_kinds, kinds, size)
    moments = statistics_of(statistics, source, target, kind, device, states, devices, C)
    values = load_pixels(unit, pixel, inside, channel, C).to(DTYPE)
    return (values - load_channels(moments, channel, C)) * load_channels(moments + C, channel, C)


@triton.jit(do_not_specialize=["target", "devices", "pixels", "groups"])
def _add_groups(
    partial,  # as reduce_gradient leaves it
    active,  # uint8 [T, 6, 5]
    means,  # [T, 6, 3, C]: of the gradient, and of its products with both normalised convolutions
    sample_gradient,  # [T, 6, 5]
    target,
    devices,
    pixels,
    groups,
    C: tl.constexpr,
    GROUPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    SAMPLES: tl.constexpr,
):
    """Adds the groups of one edge in a fixed order; from them the means, and gradients of the sample where wanted."""
    source, device = tl.program_id(0) % target, tl.program_id(0) // target
    first = operation_of(device, source, target, 0)
    everywhere = pixels.to(tl.float64)
    dtype: tl.constexpr = means.dtype.element_ty
    mean = means + (device * 6 + edge_between(source, target)) * 3 * C
    alone = partial + device.to(tl.int64) * groups * target * OPERATIONS * C
    own = alone + source * OPERATIONS * C
    step = target * OPERATIONS * C
    plain = tl.zeros((), dtype=tl.float64)
    for start in range(0, C, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        total = _sum_of_groups(alone + _ALONE * C, step, groups, channel, C, GROUPS, CHANNELS)
        tl.store(mean + channel, (total / everywhere).to(dtype), mask=channel < C)
        plain += tl.sum(total, axis=0)
    for operation in range(OPERATIONS):
        convolution = (operation == CONVOLUTION) | (operation == CONVOLUTION + 1)
        computed = tl.load(active + first + operation) != 0
        found = tl.where(computed, 0.0, plain)
        if computed & (operation > 0) & (convolution | SAMPLES):
            for start in range(0, C, CHANNELS):
                channel = start + tl.arange(0, CHANNELS)
                total = _sum_of_groups(own + operation * C, step, groups, channel, C, GROUPS, CHANNELS)
                found += tl.sum(total, axis=0)
                written = mean + (operation - CONVOLUTION + 1) * C + channel
                tl.store(written, (total / everywhere).to(dtype), mask=(channel < C) & convolution)
        if SAMPLES:
            tl.store(sample_gradient + first + operation, found.to(dtype))


@triton.jit
def _sum_of_groups(sums, step, groups, channel, C: tl.constexpr, GROUPS: tl.constexpr, CHANNELS: tl.constexpr):
    total = tl.zeros((GROUPS, CHANNELS), dtype=tl.float64)
    for first in range(0, groups, GROUPS):
        group = first + tl.arange(0, GROUPS)
        mask = (group < groups)[:, None] & (channel < C)[None, :]
        read = sums + group.to(tl.int64)[:, None] * step + channel[None, :]
        total += tl.load(read, mask=mask, other=0.0).to(tl.float64)
    return tl.sum(total, axis=0)
