"""How one cell of NAS-Bench-201 lies in memory, for all kernels of mixed_cell.

A *unit* is the B images of one device at one node: [B, H, W, C], whose pixels are numbered through. Node 0 has S of
them (S = T, or 1 where all devices share the input), other nodes T. Nodes 1 and 2 lie in one buffer [2, T] of units.
Edges are told by source and target. A convolution's *kind* is 0 for 1×1 and 1 for 3×3, a *tap* is 0 for the one
position of the former and 1 to 9 for those of the latter: kernels of both kinds lie as [6, C out, 10 taps, C in].
"""

from __future__ import annotations

import triton
import triton.language as tl

OPERATIONS = tl.constexpr(5)
SKIP = tl.constexpr(1)
CONVOLUTION = tl.constexpr(2)  # of kind 0; that of kind 1 follows
POOL = tl.constexpr(4)
TAPS = tl.constexpr(10)
_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def edge_between(source, target):
    """The number of an edge in the order of the canonical string."""
    return target * (target - 1) // 2 + source


@triton.jit
def operation_of(device, source, target, operation):
    """Where a number per operation lies in [T, 6, 5]."""
    return (device * 6 + edge_between(source, target)) * OPERATIONS + operation


@triton.jit
def devices_of(state, states, devices):
    """The first device that a state serves, and the one after the last."""
    shared = states != devices
    return tl.where(shared, 0, state), tl.where(shared, devices, state + 1)


@triton.jit
def is_active(active, state, states, devices, source, target, operation):
    """Whether any device that a state serves computes an operation."""
    first, last = devices_of(state, states, devices)
    found = 0
    for device in range(first, last):
        found += tl.load(active + operation_of(device, source, target, operation)).to(tl.int32)
    return found > 0


@triton.jit
def unit_of_node(x, nodes, node, device, states, devices, size):
    """Pointer to the unit of node 0, 1 or 2 of a device, of `size` (int64) numbers."""
    other = nodes + ((node - 1) * devices + device) * size
    return tl.where(node == 0, x + (device % states) * size, other)


@triton.jit
def unit_of_gradient(gradients, out_gradient, node, device, devices, size):
    """Pointer to the gradient of node 1, 2 or 3 of a device."""
    other = gradients + ((node - 1) * devices + device) * size
    return tl.where(node == 3, out_gradient + device * size, other)


@triton.jit
def unit_of_convolution(convolved, source, target, kind, device, states, devices, first_kinds, kinds, size):
    """Pointer to what a convolution gave for a device.

    Units lie as [3 targets, first_kinds, S] for source 0, then as [3 edges, kinds, T] for the others; where only one
    kind has room, both write there.
    """
    first = ((target - 1) * first_kinds + kind * (first_kinds - 1)) * states + device % states
    other = ((source + target - 3) * kinds + kind * (kinds - 1)) * devices + device
    unit = tl.where(source == 0, first, 3 * first_kinds * states + other)
    return convolved + unit * size


@triton.jit
def unit_of_own_gradient(own, source, target, kind, device, devices, kinds, size):
    """Pointer to the gradient of a convolution for a device, of units [6 edges, kinds, T]; see unit_of_convolution."""
    edge = edge_between(source, target)
    return own + ((edge * kinds + kind * (kinds - 1)).to(tl.int64) * devices + device) * size


@triton.jit
def statistics_of(statistics, source, target, kind, device, states, devices, C: tl.constexpr):
    """Pointer to the C means of a convolution for a device, which C values of 1/sqrt(variance + eps) follow."""
    state = tl.where(source == 0, device % states, device)
    return statistics + ((edge_between(source, target) * 2 + kind) * devices + state) * 2 * C


@triton.jit
def offset_of_tap(tap):
    """Rows and columns from a pixel to the one that a tap reads."""
    return tl.where(tap == 0, 0, (tap + 2) // 3 - 2), tl.where(tap == 0, 0, (tap + 2) % 3 - 1)


@triton.jit
def place_of(pixel, height, width):
    """Row and column of pixels in their image."""
    return pixel // width % height, pixel % width


@triton.jit
def is_inside(pixel, row, column, pixels, height, width):
    """Whether pixels are there whose neighbours lie at a row and column."""
    return (pixel < pixels) & (row >= 0) & (row < height) & (column >= 0) & (column < width)


@triton.jit
def load_pixels(unit, pixel, there, channel, C: tl.constexpr):
    """The numbers [pixels, channels] of a unit; zeros where there are none."""
    mask = there[:, None] & (channel < C)[None, :]
    return readable(tl.load(unit + pixel.to(tl.int64)[:, None] * C + channel[None, :], mask=mask, other=0.0))


@triton.jit
def load_kernel(packed, source, target, tap, out, channel, C: tl.constexpr):
    """What one tap of an edge's kernel multiplies: two of output and input channels, whose shapes are broadcast."""
    row = (edge_between(source, target) * C + out) * TAPS + tap
    return readable(tl.load(packed + row * C + channel, mask=(out < C) & (channel < C), other=0.0))


@triton.jit
def load_channels(numbers, channel, C: tl.constexpr):
    """One number per channel, as a row."""
    return tl.load(numbers + channel, mask=channel < C, other=0.0)[None, :]


@triton.jit
def pool_count(row, column, height, width):
    """How many pixels of the image there are in the 3×3 window around each place."""
    rows = tl.minimum(row + 1, height - 1) - tl.maximum(row - 1, 0) + 1
    return rows * (tl.minimum(column + 1, width - 1) - tl.maximum(column - 1, 0) + 1)


@triton.jit
def relu(numbers):
    """max(numbers, 0), with NaN as it is."""
    return tl.where(numbers < 0, tl.zeros_like(numbers), numbers)


@triton.jit
def readable(numbers):
    """The numbers; the interpreter, which cannot calculate with bfloat16, gets them in float32."""
    if _INTERPRETED:
        if numbers.dtype == tl.bfloat16:
            numbers = numbers.to(tl.float32)
    return numbers


@triton.jit
def rounded(numbers, DTYPE: tl.constexpr):
    """float32 or float64 numbers in another format, to nearest, ties to even."""
    if _INTERPRETED:
        if tl.bfloat16 == DTYPE:  # the interpreter would cut them off
            bits = numbers.to(tl.int32, bitcast=True)
            bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
            numbers = tl.where(numbers == numbers, bits.to(tl.float32, bitcast=True), numbers)
    return numbers.to(DTYPE)


@triton.jit
def factor(numbers, DTYPE: tl.constexpr):
    """float32 or float64 numbers as a factor of tl.dot, rounded to a format."""
    return readable(rounded(numbers, DTYPE))
