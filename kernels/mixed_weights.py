"""The gradients of a cell's convolution kernels, summed over images, pixels and devices."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.cell_arguments import Cell, Run
from modnas_fast.kernels.cell_layout import (
    CONVOLUTION,
    TAPS,
    edge_between,
    factor,
    is_inside,
    offset_of_tap,
    operation_of,
    place_of,
    readable,
    relu,
    statistics_of,
    unit_of_convolution,
    unit_of_gradient,
    unit_of_node,
)
from modnas_fast.kernels.mixed_gather import gradient_of_convolution

_PROGRAMS = 512  # of _multiply_gradients, about
_NUMBERS = 1024  # of float64 that a program of _add_splits holds at a time


def multiply_gradients(cell: Cell, run: Run, means: Tensor, gradients: Tensor, out_gradient: Tensor) -> Tensor:
    """The gradient of the packed kernels, [6, C out, 10, C in] in the format of sums."""
    tiles, channels = cell.tiles, cell.x.shape[-1]
    count = triton.cdiv(cell.pixels, tiles.weight_pixels)
    blocks = sum(triton.cdiv(taps * channels, tiles.weight_columns) for taps in (1, 9))
    blocks *= 6 * triton.cdiv(channels, tiles.outer)
    splits = max(1, min(_PROGRAMS // blocks, count))
    partial = cell.sums(splits, *cell.packed.shape)
    _multiply_gradients[(blocks * splits,)](
        cell.x,
        *run,
        means,
        cell.sample,
        cell.active,
        gradients,
        out_gradient,
        partial,
        *cell.room,
        *cell.image,
        count,
        splits,
        C=channels,
        PIXELS=tiles.weight_pixels,
        OUT=tiles.outer,
        COLUMNS=tiles.weight_columns,
        num_warps=4,
        num_stages=3,
    )
    packed_gradient = cell.sums(*cell.packed.shape)
    at_a_time = min(64, max(1, triton.next_power_of_2(splits)))
    numbers = _NUMBERS // at_a_time
    _add_splits[(triton.cdiv(packed_gradient.numel(), numbers),)](
        partial, packed_gradient, splits, packed_gradient.numel(), SPLITS=at_a_time, NUMBERS=numbers
    )
    return packed_gradient


@triton.jit(
    do_not_specialize=[
        "states", "devices", "first_kinds", "kinds", "pixels", "height", "width", "tiles", "splits",
    ]
)  # fmt: skip
def _multiply_gradients(
    x,  # units [S]
    nodes,  # units [2, T]
    convolved,  # units, see cell_layout
    statistics,  # [6, 2, T, 2, C]
    means,  # [T, 6, 3, C], see mixed_reduction
    sample,  # [T, 6, 5]
    active,  # uint8 [T, 6, 5]
    gradients,  # units [2, T] of nodes 1 and 2
    out_gradient,  # units [T] of node 3
    partial,  # [splits, 6, C out, 10, C in]
    states,
    devices,
    first_kinds,
    kinds,
    pixels,
    height,
    width,
    tiles,
    splits,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    OUT: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Some output channels by some columns (tap, input channel) of one convolution's gradient.

    A sum over every splits-th tile of pixels of all devices that compute it; zeros where none does.
    """
    parts: tl.constexpr = (C + OUT - 1) // OUT
    small: tl.constexpr = (C + COLUMNS - 1) // COLUMNS
    blocks: tl.constexpr = small + (9 * C + COLUMNS - 1) // COLUMNS
    program = tl.program_id(0)
    block, part = program % blocks, program // blocks % parts
    edge, split = program // (blocks * parts) % 6, program // (blocks * parts) // 6
    target = 1 + (edge > 0).to(tl.int32) + (edge > 2).to(tl.int32)
    source = edge - edge_between(0, target)
    kind = (block >= small).to(tl.int32)
    entry = (block - kind * small) * COLUMNS + tl.arange(0, COLUMNS)
    known = entry < C * (1 + 8 * kind)
    tap, channel = entry // C + kind, entry % C
    rows, columns = offset_of_tap(tap)

    accumulator: tl.constexpr = partial.dtype.element_ty
    dtype: tl.constexpr = gradients.dtype.element_ty
    size = pixels.to(tl.int64) * C
    out = part * OUT + tl.arange(0, OUT)
    total = tl.zeros((OUT, COLUMNS), dtype=accumulator)
    for device in range(devices):
        operation = operation_of(device, source, target, CONVOLUTION + kind)
        if tl.load(active + operation) != 0:
            weight = tl.load(sample + operation)
            gradient = unit_of_gradient(gradients, out_gradient, target, device, devices, size)
            values = unit_of_convolution(
                convolved, source, target, kind, device, states, devices, first_kinds, kinds, size
            )
            moments = statistics_of(statistics, source, target, kind, device, states, devices, C)
            mean = means + (device * 6 + edge) * 3 * C
            unit = unit_of_node(x, nodes, source, device, states, devices, size)
            for tile in range(split, tiles, splits):
                pixel = tile * PIXELS + tl.arange(0, PIXELS)
                behind = gradient_of_convolution(
                    gradient, values, moments, mean, kind, weight, pixel, pixel < pixels, out, C, accumulator
                )
                row, column = place_of(pixel, height, width)
                row, column = row[:, None] + rows[None, :], column[:, None] + columns[None, :]
                there = is_inside(pixel[:, None], row, column, pixels, height, width) & known[None, :]
                read = pixel[:, None] + (rows * width + columns)[None, :]
                images = tl.load(unit + read.to(tl.int64) * C + channel[None, :], mask=there, other=0.0)
                images = relu(readable(images))
                total = tl.dot(
                    tl.trans(factor(behind, dtype)), images, total, input_precision="ieee",
                    out_dtype=accumulator,
                )  # fmt: skip
    written = ((split * 6 + edge) * C + out.to(tl.int64)[:, None]) * TAPS * C + (kind * C + entry)[None, :]
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
