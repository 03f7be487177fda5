"""The gradients of a cell's convolution kernels, summed over images, pixels and devices."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.cell_arguments import Cell, Run
from modnas_fast.kernels.cell_layout import (
    CONVOLUTION,
    edge_between,
    is_inside,
    load_pixels,
    offset_of_tap,
    operation_of,
    place_of,
    readable,
    relu,
    unit_of_node,
    unit_of_own_gradient,
)

_PROGRAMS = 512  # of _multiply_gradients per kind, about
_NUMBERS = 1024  # of float64 that a program of _add_splits holds at a time


def multiply_gradients(cell: Cell, run: Run, own: Tensor, kind: int) -> Tensor:
    """The gradient of the kernels of one kind, [6, C out, taps, C in] in the format of sums."""
    tiles, channels, taps = cell.tiles, cell.x.shape[-1], 9 if kind else 1
    columns = tiles.weight_columns if kind else min(tiles.weight_columns, cell.block)
    count = triton.cdiv(cell.pixels, tiles.weight_pixels)
    blocks = 6 * triton.cdiv(channels, tiles.outer) * triton.cdiv(taps * channels, columns)
    splits = max(1, min(_PROGRAMS // blocks, count))
    shape = 6, channels, taps, channels
    partial, found = cell.sums(splits, *shape), cell.sums(*shape)
    _multiply_gradients[(blocks * splits,)](
        cell.x,
        run.nodes,
        own,
        cell.active,
        partial,
        len(cell.x),
        cell.devices,
        cell.kinds,
        *cell.image,
        count,
        splits,
        C=channels,
        KIND=kind,
        PIXELS=tiles.weight_pixels,
        OUT=tiles.outer,
        COLUMNS=columns,
        num_warps=4,
        num_stages=2,
    )
    at_a_time = min(64, max(1, triton.next_power_of_2(splits)))
    numbers = _NUMBERS // at_a_time
    _add_splits[(triton.cdiv(found.numel(), numbers),)](
        partial, found, splits, found.numel(), SPLITS=at_a_time, NUMBERS=numbers
    )
    return found


@triton.jit(do_not_specialize=["states", "devices", "kinds", "pixels", "height", "width", "tiles", "splits"])
def _multiply_gradients(
    x,  # units [S]
    nodes,  # units [2, T]
    own,  # units [6, kinds, T], see mixed_gradient
    active,  # uint8 [T, 6, 5]
    partial,  # [splits, 6, C out, taps, C in]
    states,
    devices,
    kinds,
    pixels,
    height,
    width,
    tiles,
    splits,
    C: tl.constexpr,
    KIND: tl.constexpr,
    PIXELS: tl.constexpr,
    OUT: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Some output channels by some columns (tap, input channel) of one convolution's gradient.

    A sum over every splits-th tile of pixels of all devices that compute it; zeros where none does.
    """
    all_columns: tl.constexpr = (1 + 8 * KIND) * C
    parts: tl.constexpr = (C + OUT - 1) // OUT
    blocks: tl.constexpr = (all_columns + COLUMNS - 1) // COLUMNS
    program = tl.program_id(0)
    block, part = program % blocks, program // blocks % parts
    edge, split = program // (blocks * parts) % 6, program // (blocks * parts) // 6
    target = 1 + (edge > 0).to(tl.int32) + (edge > 2).to(tl.int32)
    source = edge - edge_between(0, target)
    entry = block * COLUMNS + tl.arange(0, COLUMNS)
    known = entry < all_columns
    channel = entry % C
    rows, columns = offset_of_tap(entry // C + KIND)

    accumulator: tl.constexpr = partial.dtype.element_ty
    size = pixels.to(tl.int64) * C
    out = part * OUT + tl.arange(0, OUT)
    total = tl.zeros((OUT, COLUMNS), dtype=accumulator)
    for device in range(devices):
        if tl.load(active + operation_of(device, source, target, CONVOLUTION + KIND)) != 0:
            gradient = unit_of_own_gradient(own, source, target, KIND, device, devices, kinds, size)
            unit = unit_of_node(x, nodes, source, device, states, devices, size)
            for tile in range(split, tiles, splits):
                pixel = tile * PIXELS + tl.arange(0, PIXELS)
                behind = load_pixels(gradient, pixel, pixel < pixels, out, C)
                row, column = place_of(pixel, height, width)
                row, column = row[:, None] + rows[None, :], column[:, None] + columns[None, :]
                there = is_inside(pixel[:, None], row, column, pixels, height, width) & known[None, :]
                read = pixel[:, None] + (rows * width + columns)[None, :]
                images = tl.load(unit + read.to(tl.int64) * C + channel[None, :], mask=there, other=0.0)
                images = relu(readable(images))
                total = tl.dot(tl.trans(behind), images, total, input_precision="ieee", out_dtype=accumulator)
    written = ((split * 6 + edge) * C + out.to(tl.int64)[:, None]) * all_columns + entry[None, :]
    tl.store(partial + written, total, mask=(out < C)[:, None] & known[None, :])


@triton.jit(do_not_specialize=["splits", "numbers"])
def _add_splits(
    partial,  # [splits, numbers]
    out,  # [numbers]
    splits,
    numbers,
    SPLITS: tl.constexpr,
    NUMBERS: tl.constexpr,
):
    """Adds the splits in a fixed order."""
    number = tl.program_id(0) * NUMBERS + tl.arange(0, NUMBERS)
    total = tl.zeros((SPLITS, NUMBERS), dtype=tl.float64)
    for first in range(0, splits, SPLITS):
        split = first + tl.arange(0, SPLITS)
        read = partial + split.to(tl.int64)[:, None] * numbers + number[None, :]
        total += tl.load(read, mask=(split < splits)[:, None] & (number < numbers)[None, :], other=0.0).to(tl.float64)
    tl.store(out + number, tl.sum(total, axis=0).to(out.dtype.element_ty), mask=number < numbers)
