"""The gradient of a node of a cell: gathered from all edges that leave it, written once."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.cell_arguments import Cell, Run
from modnas_fast.kernels.cell_layout import (
    CONVOLUTION,
    POOL,
    SKIP,
    devices_of,
    is_inside,
    load_kernel,
    load_pixels,
    offset_of_tap,
    operation_of,
    place_of,
    pool_count,
    rounded,
    unit_of_gradient,
    unit_of_own_gradient,
)


def gather_gradient(
    cell: Cell, run: Run, own: Tensor, gradients: Tensor, out_gradient: Tensor, source: int, written: Tensor
) -> None:
    """Writes the gradient of node 0, 1 or 2 from those of the nodes after it."""
    tiles, channels = cell.tiles, cell.x.shape[-1]
    node = cell.node(run.nodes, source)
    count = triton.cdiv(cell.pixels, tiles.gathered_pixels)
    _gather_gradient[(triton.cdiv(channels, tiles.outer) * count * len(node),)](
        node,
        cell.packed,
        own,
        cell.sample,
        cell.active,
        gradients,
        out_gradient,
        written,
        source,
        len(node),
        cell.devices,
        cell.kinds,
        *cell.image,
        count,
        C=channels,
        PIXELS=tiles.gathered_pixels,
        IN=tiles.outer,
        OUT=tiles.inner,
        num_warps=4,
        num_stages=3 if cell.x.element_size() == 2 else 2,  # what nothing spills with
    )


@triton.jit(
    do_not_specialize=[
        "source", "node_states", "devices", "kinds", "pixels", "height", "width", "tiles",
    ]
)  # fmt: skip
def _gather_gradient(
    node,  # units [node_states] of the source
    packed,  # [6, C out, 10, C in]
    own,  # units [6, kinds, T], see mixed_gradient
    sample,  # [T, 6, 5]
    active,  # uint8 [T, 6, 5]
    gradients,  # units [2, T] of nodes 1 and 2
    out_gradient,  # units [T] of node 3
    written,  # units [node_states]
    source,
    node_states,
    devices,
    kinds,
    pixels,
    height,
    width,
    tiles,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
):
    """One tile of pixels and channels of one state, summed over the devices that share it."""
    parts: tl.constexpr = (C + IN - 1) // IN
    program = tl.program_id(0)
    part, tile, state = program % parts, program // parts % tiles, program // parts // tiles
    pixel, channel = tile * PIXELS + tl.arange(0, PIXELS), part * IN + tl.arange(0, IN)
    inside = pixel < pixels
    size = pixels.to(tl.int64) * C
    accumulator: tl.constexpr = sample.dtype.element_ty
    row, column = place_of(pixel, height, width)
    total = tl.zeros((PIXELS, IN), dtype=accumulator)
    steps: tl.constexpr = (C + OUT - 1) // OUT
    first, last = devices_of(state, node_states, devices)
    for device in range(first, last):
        for target in range(source + 1, 4):
            for kind in range(2):
                if tl.load(active + operation_of(device, source, target, CONVOLUTION + kind)) != 0:
                    unit = unit_of_own_gradient(own, source, target, kind, device, devices, kinds, size)
                    for step in range(kind * steps, (kind * 9 + 1) * steps):
                        tap, out = step // steps, step % steps * OUT + tl.arange(0, OUT)
                        rows, columns = offset_of_tap(tap)
                        read = pixel - rows * width - columns
                        there = is_inside(pixel, row - rows, column - columns, pixels, height, width)
                        behind = load_pixels(unit, read, there, out, C)
                        weights = load_kernel(packed, source, target, tap, out[:, None], channel[None, :], C)
                        total = tl.dot(behind, weights, total, input_precision="ieee", out_dtype=accumulator)
    image = load_pixels(node + state * size, pixel, inside, channel, C)
    total = tl.where(image <= 0, 0.0, total)  # back through relu, which only convolutions have
    for device in range(first, last):
        for target in range(source + 1, 4):
            unit = unit_of_gradient(gradients, out_gradient, target, device, devices, size)
            operation = operation_of(device, source, target, 0)
            if tl.load(active + operation + SKIP) != 0:
                values = load_pixels(unit, pixel, inside, channel, C).to(accumulator)
                total += tl.load(sample + operation + SKIP) * values
            if tl.load(active + operation + POOL) != 0:
                weight = tl.load(sample + operation + POOL)
                total += weight * _spread(unit, pixel, pixels, height, width, channel, C, accumulator)
    place = written + state * size + pixel.to(tl.int64)[:, None] * C + channel[None, :]
    mask = inside[:, None] & (channel < C)[None, :]
    tl.store(place, rounded(total, written.dtype.element_ty), mask=mask)


@triton.jit
def _spread(unit, pixel, pixels, height, width, channel, C: tl.constexpr, DTYPE: tl.constexpr):
    """The transpose of the 3×3 average."""
    row, column = place_of(pixel, height, width)
    total = tl.zeros((pixel.shape[0], channel.shape[0]), dtype=DTYPE)
    for tap in range(1, 10):
        rows, columns = offset_of_tap(tap)
        there = is_inside(pixel, row + rows, column + columns, pixels, height, width)
        values = load_pixels(unit, pixel + rows * width + columns, there, channel, C).to(DTYPE)
        count = tl.where(there, pool_count(row + rows, column + columns, height, width), 1)
        total += values / count.to(DTYPE)[:, None]
    return total
