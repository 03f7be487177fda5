"""Depth-wise convolution, batch normalisation and activation, channels last, and their gradients.

A program takes some pixels of some channels. Sums over pixels are made per program, and then in a fixed order. With
g = ∂y · f'(u), u = a z + b, a = γ / σ and sums over the n numbers of a channel,

    ∂β = Σ g        ∂γ = Σ g (z − μ) / σ        ∂z = a (g − ∂β / n − (z − μ) ∂γ / (σ n))

where the last two terms are left out if mean and variance are constants.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.fused_block import ACTIVATIONS, Found

#: pixels and channels of a program
_PIXELS, _CHANNELS = 64, 32
#: programs that sums over pixels are divided among, at most
_SLOTS = 64
_LAST = torch.channels_last


def forward(
    x: Tensor,
    taps: Tensor | None,
    stride: int,
    scale: Tensor,
    shift: Tensor,
    activation: str | None,
    eps: float,
    statistics: tuple[Tensor, Tensor] | None,
    residual: Tensor | None,
) -> Found:
    """As `modnas_fast.supernets.norm_activation.Block` asks for it."""
    x = x.contiguous(memory_format=_LAST)
    with torch.cuda.device_of(x):
        if taps is not None:
            taps = taps.contiguous()
            z = _convolved(x, taps, stride)
        else:
            z = x
        mean, variance = _statistics(z) if statistics is None else statistics
        factor, offset, _ = _factors(scale, shift, mean, variance, eps)
        y = torch.empty_like(z)
        added = z if residual is None else residual.contiguous(memory_format=_LAST)
        _normalise[_grid(z)](
            z, factor, offset, added, y, _pixels(z), z.shape[1], ACTIVATION=ACTIVATIONS[activation],
            ADD=residual is not None, **_tile(z),
        )  # fmt: skip
    saved = x, taps, scale, shift, mean, variance, None if taps is None else z
    return Found(y, mean, variance, saved)


def backward(
    dy: Tensor,
    saved: tuple[Tensor | None, ...],
    options: tuple[int, str | None, float, bool],
    of_x: bool,
    of_taps: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """By x and taps (None where not asked for), scale and shift."""
    x, taps, scale, shift, mean, variance, z = saved
    assert x is not None and scale is not None and shift is not None and mean is not None and variance is not None
    stride, activation, eps, given = options
    z, dy = x if z is None else z, dy.contiguous(memory_format=_LAST)
    factor, offset, inverse = _factors(scale, shift, mean, variance, eps)
    rows, channels = _pixels(z), z.shape[1]
    of = {"ACTIVATION": ACTIVATIONS[activation], **_tile(z)}
    with torch.cuda.device_of(x):
        each, slots = _slots(rows)
        sums = torch.empty((2, slots, channels), dtype=z.dtype, device=z.device)
        _gradient_sums[slots, triton.cdiv(channels, of["CHANNELS"])](
            dy, z, mean, factor, offset, sums[0], sums[1], rows, channels, each, **of
        )
        dshift, product = sums.sum(1)
        dscale = product * inverse
        if not (of_x or of_taps):
            return None, None, dscale, dshift
        share = 0.0 if given else 1.0 / rows
        constant, slope = -share * factor * dshift, -share * factor * inverse * dscale
        dz = torch.empty_like(z)
        _gradient[_grid(z)](dy, z, mean, factor, offset, constant, slope, dz, rows, channels, **of)
        if taps is None:
            return dz, None, dscale, dshift
        dx = _by_input(dz, x, taps, stride) if of_x else None
        dtaps = _by_taps(dz, x, taps, stride) if of_taps else None
    return dx, dtaps, dscale, dshift


def _factors(scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and 1 / σ."""
    inverse = (variance + eps).rsqrt()
    factor = scale * inverse
    return factor, shift - factor * mean, inverse


def _convolved(x: Tensor, taps: Tensor, stride: int) -> Tensor:
    batch, channels, height, width = x.shape
    out = [-(-size // stride) for size in (height, width)]
    z = torch.empty((batch, channels, *out), dtype=x.dtype, device=x.device, memory_format=_LAST)
    _convolve[_grid(z)](
        x, taps, z, _pixels(z), channels, height, width, *out, KERNEL=taps.shape[-1], STRIDE=stride, **_tile(z)
    )
    return z


def _statistics(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, from those of parts."""
    rows, channels = _pixels(z), z.shape[1]
    each, slots = _slots(rows)
    parts = torch.empty((2, slots, channels), dtype=z.dtype, device=z.device)
    tile = _tile(z)
    _moments[slots, triton.cdiv(channels, tile["CHANNELS"])](z, parts[0], parts[1], rows, channels, each, **tile)
    counts = (rows - each * torch.arange(slots, device=z.device, dtype=z.dtype)).clamp(max=each)[:, None]
    mean = (counts * (parts[0] - parts[0][0])).sum(0) / rows + parts[0][0]
    return mean, (parts[1] + counts * (parts[0] - mean).square()).sum(0) / rows


def _by_input(dz: Tensor, x: Tensor, taps: Tensor, stride: int) -> Tensor:
    dx = torch.empty_like(x)
    _differentiate_input[_grid(x)](
        dz, taps, dx, _pixels(x), x.shape[1], *x.shape[2:], *dz.shape[2:], KERNEL=taps.shape[-1], STRIDE=stride,
        **_tile(x),
    )  # fmt: skip
    return dx


def _by_taps(dz: Tensor, x: Tensor, taps: Tensor, stride: int) -> Tensor:
    rows, (channels, side, _) = _pixels(dz), taps.shape
    each, slots = _slots(rows)
    parts = torch.empty((slots, *taps.shape), dtype=dz.dtype, device=dz.device)
    tile = _tile(dz)
    _differentiate_taps[slots, triton.cdiv(channels, tile["CHANNELS"]), side * side](
        dz, x, parts, rows, channels, *x.shape[2:], *dz.shape[2:], each, KERNEL=side, STRIDE=stride, **tile
    )
    return parts.sum(0)


def _pixels(z: Tensor) -> int:
    return z.shape[0] * z.shape[2] * z.shape[3]


def _slots(rows: int) -> tuple[int, int]:
    """Pixels of a slot, whole tiles, and slots."""
    each = triton.cdiv(triton.cdiv(rows, _SLOTS), _PIXELS) * _PIXELS
    return each, triton.cdiv(rows, each)


def _tile(z: Tensor) -> dict[str, Any]:
    channels = min(_CHANNELS, triton.next_power_of_2(z.shape[1]))
    return {"PIXELS": _PIXELS, "CHANNELS": channels, "num_warps": 4, "num_stages": 1}


def _grid(z: Tensor) -> tuple[int, int]:
    return triton.cdiv(_pixels(z), _PIXELS), triton.cdiv(z.shape[1], min(_CHANNELS, triton.next_power_of_2(z.shape[1])))


# ---- kernels ----


@triton.jit
def _activate(u, ACTIVATION: tl.constexpr):
    if ACTIVATION == 1:
        u = tl.maximum(u, 0.0)
    elif ACTIVATION == 2:
        u = u * tl.minimum(tl.maximum(u + 3.0, 0.0), 6.0) / 6.0
    return u


@triton.jit
def _through(dy, u, ACTIVATION: tl.constexpr):
    """dy · f'(u)"""
    if ACTIVATION == 1:
        dy = tl.where(u > 0.0, dy, 0.0)
    elif ACTIVATION == 2:
        dy = tl.where(u > -3.0, tl.where(u < 3.0, dy * (u / 3.0 + 0.5), dy), 0.0)
    return dy


@triton.jit(do_not_specialize=["rows"])
def _normalise(
    z,  # [rows, channels]
    factor,
    offset,
    residual,
    y,
    rows,
    channels,
    ACTIVATION: tl.constexpr,
    ADD: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    place, mask = row[:, None] * channels + channel, (row < rows)[:, None] & there
    a = tl.load(factor + channel, mask=there, other=0.0)
    b = tl.load(offset + channel, mask=there, other=0.0)
    found = _activate(tl.load(z + place, mask=mask, other=0.0) * a + b, ACTIVATION)
    if ADD:
        found += tl.load(residual + place, mask=mask, other=0.0)
    tl.store(y + place, found, mask=mask)


@triton.jit(do_not_specialize=["rows", "each"])
def _moments(
    z,  # [rows, channels]
    means,  # [slots, channels]
    squares,
    rows,
    channels,
    each,  # rows of a slot
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    slot = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    end = tl.minimum((slot + 1) * each, rows)
    pivot = tl.load(z + slot * each * channels + channel, mask=there, other=0.0)  # about it little cancels
    total = tl.zeros((PIXELS, CHANNELS), dtype=z.dtype.element_ty)
    square = tl.zeros((PIXELS, CHANNELS), dtype=z.dtype.element_ty)
    for start in range(slot * each, end, PIXELS):
        row = start + tl.arange(0, PIXELS)
        mask = (row < end)[:, None] & there
        numbers = tl.load(z + row[:, None] * channels + channel, mask=mask, other=0.0)
        away = tl.where(mask, numbers - pivot, 0.0)
        total += away
        square += away * away
    count = (end - slot * each).to(z.dtype.element_ty)
    away = tl.sum(total, axis=0)
    found = slot * channels + channel
    tl.store(means + found, pivot + away / count, mask=there)
    tl.store(squares + found, tl.maximum(tl.sum(square, axis=0) - away * away / count, 0.0), mask=there)


@triton.jit(do_not_specialize=["rows", "each"])
def _gradient_sums(
    dy,  # [rows, channels]
    z,
    mean,
    factor,
    offset,
    of_shift,  # [slots, channels]
    of_scale,
    rows,
    channels,
    each,
    ACTIVATION: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    slot = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    mu = tl.load(mean + channel, mask=there, other=0.0)
    a = tl.load(factor + channel, mask=there, other=0.0)
    b = tl.load(offset + channel, mask=there, other=0.0)
    total = tl.zeros((PIXELS, CHANNELS), dtype=z.dtype.element_ty)
    product = tl.zeros((PIXELS, CHANNELS), dtype=z.dtype.element_ty)
    end = tl.minimum((slot + 1) * each, rows)
    for start in range(slot * each, end, PIXELS):
        row = start + tl.arange(0, PIXELS)
        place, mask = row[:, None] * channels + channel, (row < end)[:, None] & there
        numbers = tl.load(z + place, mask=mask, other=0.0)
        g = _through(tl.load(dy + place, mask=mask, other=0.0), numbers * a + b, ACTIVATION)
        total += g
        product += g * (numbers - mu)
    found = slot * channels + channel
    tl.store(of_shift + found, tl.sum(total, axis=0), mask=there)
    tl.store(of_scale + found, tl.sum(product, axis=0), mask=there)


@triton.jit(do_not_specialize=["rows"])
def _gradient(
    dy,  # [rows, channels]
    z,
    mean,
    factor,
    offset,
    constant,
    slope,
    dz,
    rows,
    channels,
    ACTIVATION: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    place, mask = row[:, None] * channels + channel, (row < rows)[:, None] & there
    mu = tl.load(mean + channel, mask=there, other=0.0)
    a = tl.load(factor + channel, mask=there, other=0.0)
    b = tl.load(offset + channel, mask=there, other=0.0)
    numbers = tl.load(z + place, mask=mask, other=0.0)
    g = _through(tl.load(dy + place, mask=mask, other=0.0), numbers * a + b, ACTIVATION)
    level = tl.load(constant + channel, mask=there, other=0.0)
    rise = tl.load(slope + channel, mask=there, other=0.0)
    tl.store(dz + place, a * g + (level + rise * (numbers - mu)), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _convolve(
    x,  # [B, height, width, channels]
    taps,  # [channels, KERNEL, KERNEL]
    z,  # [B, high, wide, channels]
    rows,
    channels,
    height,
    width,
    high,
    wide,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    image, top = row // (high * wide), row // wide % high * STRIDE - KERNEL // 2
    left = row % wide * STRIDE - KERNEL // 2
    found = tl.zeros((PIXELS, CHANNELS), dtype=z.dtype.element_ty)
    for tap in range(KERNEL * KERNEL):
        h, w = top + tap // KERNEL, left + tap % KERNEL
        inside = (row < rows) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
        place = ((image * height + h) * width + w)[:, None] * channels + channel
        numbers = tl.load(x + place, mask=inside[:, None] & there, other=0.0)
        weight = tl.load(taps + channel.to(tl.int64) * (KERNEL * KERNEL) + tap, mask=there, other=0.0)
        found += numbers * weight
    tl.store(z + row[:, None] * channels + channel, found, mask=(row < rows)[:, None] & there)


@triton.jit(do_not_specialize=["rows"])
def _differentiate_input(
    dz,  # [B, high, wide, channels]
    taps,  # [channels, KERNEL, KERNEL]
    dx,  # [B, height, width, channels]
    rows,
    channels,
    height,
    width,
    high,
    wide,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    image, bottom = row // (height * width), row // width % height + KERNEL // 2
    right = row % width + KERNEL // 2
    found = tl.zeros((PIXELS, CHANNELS), dtype=dx.dtype.element_ty)
    for tap in range(KERNEL * KERNEL):
        below, behind = bottom - tap // KERNEL, right - tap % KERNEL
        inside = (row < rows) & (below >= 0) & (behind >= 0) & (below % STRIDE == 0) & (behind % STRIDE == 0)
        h, w = below // STRIDE, behind // STRIDE
        inside = inside & (h < high) & (w < wide)
        place = ((image * high + h) * wide + w)[:, None] * channels + channel
        gradient = tl.load(dz + place, mask=inside[:, None] & there, other=0.0)
        weight = tl.load(taps + channel.to(tl.int64) * (KERNEL * KERNEL) + tap, mask=there, other=0.0)
        found += gradient * weight
    tl.store(dx + row[:, None] * channels + channel, found, mask=(row < rows)[:, None] & there)


@triton.jit(do_not_specialize=["rows", "each"])
def _differentiate_taps(
    dz,  # [B, high, wide, channels]
    x,  # [B, height, width, channels]
    parts,  # [slots, channels, KERNEL, KERNEL]
    rows,
    channels,
    height,
    width,
    high,
    wide,
    each,  # rows of a slot
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    slot, tap = tl.program_id(0).to(tl.int64), tl.program_id(2)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    total = tl.zeros((PIXELS, CHANNELS), dtype=dz.dtype.element_ty)
    end = tl.minimum((slot + 1) * each, rows)
    for start in range(slot * each, end, PIXELS):
        row = start + tl.arange(0, PIXELS)
        h = row // wide % high * STRIDE - KERNEL // 2 + tap // KERNEL
        w = row % wide * STRIDE - KERNEL // 2 + tap % KERNEL
        inside = (row < end) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
        mask = inside[:, None] & there
        place = ((row // (high * wide) * height + h) * width + w)[:, None] * channels + channel
        numbers = tl.load(x + place, mask=mask, other=0.0)
        total += numbers * tl.load(dz + row[:, None] * channels + channel, mask=mask, other=0.0)
    place = (slot * channels + channel) * (KERNEL * KERNEL) + tap
    tl.store(parts + place, tl.sum(total, axis=0), mask=there)
