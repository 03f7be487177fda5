"""A node of a cell: the weighted sum of all operations on the edges that lead to it."""

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
    is_inside,
    load_channels,
    load_pixels,
    offset_of_tap,
    operation_of,
    place_of,
    pool_count,
    rounded,
    statistics_of,
    unit_of_convolution,
    unit_of_node,
)


def add_edges(cell: Cell, run: Run, target: int, out: Tensor) -> None:
    """Writes a node, whose edges' convolutions are done, into units `out` [T]."""
    pixels, channels = cell.elementwise_pixels, cell.x.shape[-1]
    count = triton.cdiv(cell.pixels, pixels)
    _add_edges[(triton.cdiv(channels, cell.block) * count * cell.devices,)](
        cell.x,
        *run,
        cell.sample,
        cell.active,
        out,
        target,
        *cell.room,
        *cell.image,
        count,
        C=channels,
        PIXELS=pixels,
        CHANNELS=cell.block,
        num_warps=4,
    )


@triton.jit(
    do_not_specialize=["target", "states", "devices", "first_kinds", "kinds", "pixels", "height", "width", "tiles"]
)
def _add_edges(
    x,  # units [S]
    nodes,  # units [2, T]
    convolved,  # units, see cell_layout
    statistics,  # [6, 2, T, 2, C]
    sample,  # [T, 6, 5]
    active,  # uint8 [T, 6, 5]
    out,  # units [T] of the target
    target,
    states,
    devices,
    first_kinds,
    kinds,
    pixels,
    height,
    width,
    tiles,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """One tile of pixels and channels of one device."""
    parts: tl.constexpr = (C + CHANNELS - 1) // CHANNELS
    program = tl.program_id(0)
    part, tile, device = program % parts, program // parts % tiles, program // parts // tiles
    channel, pixel = part * CHANNELS + tl.arange(0, CHANNELS), tile * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    size = pixels.to(tl.int64) * C
    accumulator: tl.constexpr = sample.dtype.element_ty
    total = tl.zeros((PIXELS, CHANNELS), dtype=accumulator)
    for source in range(target):
        unit = unit_of_node(x, nodes, source, device, states, devices, size)
        first = operation_of(device, source, target, 0)
        total += _sum_of_not_computed(sample + first, active + first)
        if tl.load(active + first + SKIP) != 0:
            values = load_pixels(unit, pixel, inside, channel, C).to(accumulator)
            total += tl.load(sample + first + SKIP) * values
        if tl.load(active + first + POOL) != 0:
            pooled = average(unit, pixel, pixels, height, width, channel, C, accumulator)
            total += tl.load(sample + first + POOL) * pooled
        for kind in range(2):
            if tl.load(active + first + CONVOLUTION + kind) != 0:
                read = unit_of_convolution(
                    convolved, source, target, kind, device, states, devices, first_kinds, kinds, size
                )
                values = load_pixels(read, pixel, inside, channel, C).to(accumulator)
                moments = statistics_of(statistics, source, target, kind, device, states, devices, C)
                scale = tl.load(sample + first + CONVOLUTION + kind) * load_channels(moments + C, channel, C)
                total += scale * (values - load_channels(moments, channel, C))
    written = out + device * size + pixel.to(tl.int64)[:, None] * C + channel[None, :]
    tl.store(written, rounded(total, out.dtype.element_ty), mask=inside[:, None] & (channel < C)[None, :])


@triton.jit
def _sum_of_not_computed(sample, active):
    """Of the weights of one edge; 0 as the caller promises, but the formula has them."""
    operation = tl.arange(0, 8)
    computed = tl.load(active + operation, mask=operation < OPERATIONS, other=1) != 0
    return tl.sum(tl.load(sample + operation, mask=computed == 0, other=0.0), axis=0)


@triton.jit
def average(unit, pixel, pixels, height, width, channel, C: tl.constexpr, DTYPE: tl.constexpr):
    """The average over the 3×3 window around each pixel, without what lies outside of the image."""
    row, column = place_of(pixel, height, width)
    total = tl.zeros((pixel.shape[0], channel.shape[0]), dtype=DTYPE)
    for tap in tl.static_range(1, 10):
        rows, columns = offset_of_tap(tap)
        there = is_inside(pixel, row + rows, column + columns, pixels, height, width)
        total += load_pixels(unit, pixel + rows * width + columns, there, channel, C).to(DTYPE)
    return total / pool_count(row, column, height, width).to(DTYPE)[:, None]
