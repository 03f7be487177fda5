"""The convolutions of a cell, with the statistics that batch normalisation needs of them."""

from __future__ import annotations

import triton
import triton.language as tl

from modnas_fast.kernels.cell_arguments import Cell, Run
from modnas_fast.kernels.cell_layout import (
    CONVOLUTION,
    is_active,
    is_inside,
    load_kernel,
    load_pixels,
    offset_of_tap,
    place_of,
    relu,
    rounded,
    statistics_of,
    unit_of_convolution,
)

_EPS = tl.constexpr(1e-5)


def convolve(cell: Cell, run: Run, source: int) -> None:
    """Writes the convolutions of a node and their statistics into `run`."""
    tiles, channels = cell.tiles, cell.x.shape[-1]
    node = cell.node(run.nodes, source)
    count, convolutions = triton.cdiv(cell.pixels, tiles.convolved_pixels), 2 * (3 - source)
    partial = cell.sums(convolutions, len(node), count, 2, channels)
    states, devices, *kinds = cell.room
    # of float32, programs for one kind spill registers
    apart = (cell.kinds if source else cell.first_kinds) if cell.x.element_size() == 2 else 2
    _convolve[((3 - source) * apart * triton.cdiv(channels, tiles.outer) * count * len(node),)](
        node,
        cell.packed,
        cell.active,
        run.convolved,
        partial,
        source,
        states,
        len(node),
        devices,
        *kinds,
        *cell.image,
        count,
        APART=apart,
        C=channels,
        PIXELS=tiles.convolved_pixels,
        IN=tiles.inner,
        OUT=tiles.outer,
        num_warps=4,
    )
    _normalise[(convolutions * len(node) * triton.cdiv(channels, cell.block),)](
        partial,
        cell.active,
        run.statistics,
        source,
        states,
        len(node),
        devices,
        cell.pixels,
        count,
        C=channels,
        TILE=tiles.convolved_pixels,
        TILES=cell.sums_at_a_time(count),
        CHANNELS=cell.block,
        num_warps=8,
    )


@triton.jit(
    do_not_specialize=[
        "source", "states", "node_states", "devices", "first_kinds", "kinds", "pixels", "height", "width", "tiles",
    ]
)  # fmt: skip
def _convolve(
    node,  # units [node_states] of the source
    packed,  # [6, C out, 10, C in]
    active,  # uint8 [T, 6, 5]
    convolved,  # units, see cell_layout
    partial,  # [3 - source, 2, node_states, tiles, 2, C]: mean and sum of squared deviations of each tile
    source,
    states,
    node_states,
    devices,
    first_kinds,
    kinds,
    pixels,
    height,
    width,
    tiles,
    APART: tl.constexpr,  # 2: programs for both kinds; 1: for that which runs, where it is one at most
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
):
    """One tile of pixels and output channels of one convolution out of `source`: an implicit matrix product.

    Convolutions of the same tile are neighbours, for the sake of the L2 cache.
    """
    parts: tl.constexpr = (C + OUT - 1) // OUT
    program = tl.program_id(0)
    convolutions = (3 - source) * APART
    convolution, part = program % convolutions, program // convolutions % parts
    tile, state = program // (convolutions * parts) % tiles, program // (convolutions * parts) // tiles
    target, kind = source + 1 + convolution // APART, convolution % APART
    if APART == 1:
        kind += is_active(active, state, node_states, devices, source, target, CONVOLUTION + 1).to(tl.int32)
    if not is_active(active, state, node_states, devices, source, target, CONVOLUTION + kind):
        return

    accumulator: tl.constexpr = partial.dtype.element_ty
    size = pixels.to(tl.int64) * C
    unit = node + state * size
    pixel, out = tile * PIXELS + tl.arange(0, PIXELS), part * OUT + tl.arange(0, OUT)
    row, column = place_of(pixel, height, width)
    total = tl.zeros((PIXELS, OUT), dtype=accumulator)
    steps: tl.constexpr = (C + IN - 1) // IN
    for step in range(kind * steps, (kind * 9 + 1) * steps):  # one loop over taps and channels, for its pipeline
        tap, channel = step // steps, step % steps * IN + tl.arange(0, IN)
        rows, columns = offset_of_tap(tap)
        read = pixel + rows * width + columns
        there = is_inside(pixel, row + rows, column + columns, pixels, height, width)
        image = relu(load_pixels(unit, read, there, channel, C))
        weights = load_kernel(packed, source, target, tap, out[None, :], channel[:, None], C)
        total = tl.dot(image, weights, total, input_precision="ieee", out_dtype=accumulator)

    inside = pixel < pixels
    mask = inside[:, None] & (out < C)[None, :]
    values = rounded(total, convolved.dtype.element_ty)
    written = unit_of_convolution(convolved, source, target, kind, state, states, devices, first_kinds, kinds, size)
    tl.store(written + pixel.to(tl.int64)[:, None] * C + out[None, :], values, mask=mask)
    values = values.to(accumulator)
    count = tl.minimum(PIXELS, pixels - tile * PIXELS)
    mean = tl.sum(values, axis=0) / count.to(accumulator)
    deviation = tl.where(inside[:, None], values - mean[None, :], 0.0)
    if APART == 1:
        convolution = convolution * 2 + kind
    slot = (convolution * node_states + state).to(tl.int64) * tiles + tile
    sums = partial + slot * 2 * C + out
    tl.store(sums, mean, mask=out < C)
    tl.store(sums + C, tl.sum(deviation * deviation, axis=0), mask=out < C)


@triton.jit(do_not_specialize=["source", "states", "node_states", "devices", "pixels", "tiles"])
def _normalise(
    partial,  # as convolve leaves it
    active,  # uint8 [T, 6, 5]
    statistics,  # [6, 2, T, 2, C]: mean and 1/sqrt(variance + eps), in one per state
    source,
    states,
    node_states,
    devices,
    pixels,
    tiles,
    C: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The statistics of one convolution from those of its tiles (Chan, Golub and LeVeque 1983), in a fixed order."""
    parts: tl.constexpr = (C + CHANNELS - 1) // CHANNELS
    program = tl.program_id(0)
    channel = program % parts * CHANNELS + tl.arange(0, CHANNELS)
    state, convolution = program // parts % node_states, program // parts // node_states
    target, kind = source + 1 + convolution // 2, convolution % 2
    if not is_active(active, state, node_states, devices, source, target, CONVOLUTION + kind):
        return

    sums = partial + (convolution * node_states + state).to(tl.int64) * tiles * 2 * C
    total = tl.zeros((TILES, CHANNELS), dtype=tl.float64)
    for first in range(0, tiles, TILES):
        means, _, counts = _tiles_from(sums, first, tiles, pixels, channel, C, TILE, TILES)
        total += means * counts
    mean = tl.sum(total, axis=0) / pixels.to(tl.float64)
    squares = tl.zeros((TILES, CHANNELS), dtype=tl.float64)
    for first in range(0, tiles, TILES):
        means, within, counts = _tiles_from(sums, first, tiles, pixels, channel, C, TILE, TILES)
        between = means - mean[None, :]
        squares += within + counts * between * between
    variance = tl.sum(squares, axis=0) / pixels.to(tl.float64)
    written = statistics_of(statistics, source, target, kind, state, states, devices, C) + channel
    dtype: tl.constexpr = statistics.dtype.element_ty
    tl.store(written, mean.to(dtype), mask=channel < C)
    tl.store(written + C, (1 / tl.sqrt(variance + _EPS)).to(dtype), mask=channel < C)


@triton.jit
def _tiles_from(sums, first, tiles, pixels, channel, C: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr):
    """Means, sums of squared deviations and numbers of pixels of the tiles from `first` on, in float64."""
    tile = first + tl.arange(0, TILES)
    mask = (tile < tiles)[:, None] & (channel < C)[None, :]
    read = sums + tile.to(tl.int64)[:, None] * 2 * C + channel[None, :]
    counts = tl.maximum(tl.minimum(TILE, pixels - tile * TILE), 0).to(tl.float64)[:, None]
    means = tl.load(read, mask=mask, other=0.0).to(tl.float64)
    return means, tl.load(read + C, mask=mask, other=0.0).to(tl.float64), counts
