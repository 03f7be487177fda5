"""The linear layer with shared, sliced weights for T devices at once, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor


class Tiles(NamedTuple):
    """How a product is cut: tiles of the result, numbers that a step adds to each, and how a program runs."""

    rows: int
    columns: int
    step: int
    warps: int
    stages: int


#: of products with the weight, by bytes of a number and whether there are masks; the first is taken where a result
#: has at least _MANY tiles of it. Larger ones spill registers on compute capability 8.0 or 9.0.
PRODUCT: dict[tuple[int, bool], tuple[Tiles, ...]] = {
    (2, False): (Tiles(128, 128, 64, 8, 3), Tiles(64, 64, 64, 4, 3)),
    (2, True): (Tiles(128, 128, 32, 8, 3), Tiles(64, 64, 64, 4, 3)),
    (4, False): (Tiles(128, 64, 16, 8, 3),),
    (4, True): (Tiles(128, 64, 16, 8, 3),),
    (8, False): (Tiles(64, 64, 16, 4, 3),),
    (8, True): (Tiles(64, 64, 16, 4, 3),),
}
#: of the weight's gradient, by bytes of a number and whether masks get one, too
WEIGHT: dict[tuple[int, bool], Tiles] = {
    (2, False): Tiles(128, 64, 64, 8, 3),
    (2, True): Tiles(64, 64, 64, 8, 3),
    (4, False): Tiles(64, 64, 16, 8, 3),
    (4, True): Tiles(64, 64, 16, 8, 3),
    (8, False): Tiles(64, 64, 16, 8, 3),
    (8, True): Tiles(32, 32, 16, 4, 2),
}
_MANY = 256
_PROGRAMS = 512  # that the gradient of the weight is divided among, unless it has more tiles


class _Part(NamedTuple):
    """What devices use of one side, as kernels take it."""

    stops: Tensor  # int [T]: nothing is used from here on
    mask: Tensor  # [T, size]; `stops` again where there is none
    masked: bool


def entangled_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor | None, outputs: Tensor | None
) -> Tensor:
    """Y_t = (((x_t · m_in,t) Wᵀ) + b) · m_out,t: [T, R, N] in the dtype of x.

    Args:
        x: [S, R, K], S = T or 1; float64, float32, float16 or bfloat16.
        weight: [N, K], bias: [N] or None, in the dtype of x.
        inputs, outputs: int32 or int64 widths [T], or masks [T, K] and [T, N], float32 (float64 with a float64 x);
            None for all.

    Tiles outside a device's prefix, or beyond the last number of its mask that is not 0, are written as zeros and
    cost no product.
    """
    used_in, used_out = _parts(x, weight, inputs, outputs)
    with torch.cuda.device_of(x):
        return _products(_with_rows(x), weight, bias, used_in, used_out, x.dtype)


def gradients(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    inputs: Tensor | None,
    outputs: Tensor | None,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight, bias, inputs and outputs, None where not `needed`, from dy [T, R, N]."""
    dy, x = _with_rows(dy), _with_rows(x)
    used_in, used_out = _parts(x, weight, inputs, outputs)
    sums = dy.sum(1, dtype=_wide(x)) if bias is not None and (needed[2] or needed[4]) else None  # [T, N]
    with torch.cuda.device_of(x):
        of_x = _of_x(dy, x, weight, used_in, used_out) if needed[0] else None
        of_weight, of_inputs, of_outputs = _of_weight(
            dy, x, weight, used_in, used_out, (needed[1], needed[3], needed[4])
        )
    of_bias = None
    if needed[2]:
        left_out, factors = _left_out(used_out, sums)
        of_bias = torch.where(left_out, 0, sums * factors).sum(0).to(x.dtype)
    if needed[4] and bias is not None:
        left_out, _ = _left_out(used_out, sums)
        read = torch.where(left_out[:, None] & ~dy.isfinite(), 0, dy).sum(1, dtype=sums.dtype)
        of_outputs += read * torch.where(left_out & ~bias.isfinite(), 0, bias)
    return of_x, of_weight, of_bias, of_inputs, of_outputs


def _of_x(dy: Tensor, x: Tensor, weight: Tensor, used_in: _Part, used_out: _Part) -> Tensor:
    """A shared x gets the sum of what its devices give, each [R, K] and not rounded before."""
    if len(x) == len(dy):
        return _products(dy, weight.T, None, used_out, used_in, x.dtype)
    return _products(dy, weight.T, None, used_out, used_in, _wide(x)).sum(0, keepdim=True).to(x.dtype)


def _products(
    left: Tensor, right: Tensor, bias: Tensor | None, used_in: _Part, used_out: _Part, dtype: torch.dtype
) -> Tensor:
    """(((left_t · m_in,t) rightᵀ) + bias) · m_out,t: [T, R, N] of left [S, R, K] and right [N, K] of any strides."""
    (_, rows, size_in), size_out, count = left.shape, len(right), len(used_in.stops)
    y = torch.empty((count, rows, size_out), dtype=dtype, device=left.device)
    tiles, blocks = _tiles(left, used_in.masked or used_out.masked, *y.shape)
    if y.numel():
        _products_of_tiles[(blocks * count,)](
            left,
            left.stride(0) if len(left) > 1 else 0,
            left.stride(1),
            right,
            *right.stride(),
            right if bias is None else bias.contiguous(),
            used_in.stops,
            used_in.mask,
            used_out.stops,
            used_out.mask,
            y,
            rows,
            size_in,
            size_out,
            BIAS=bias is not None,
            MASKED_IN=used_in.masked,
            MASKED_OUT=used_out.masked,
            **_constants(tiles, left),
        )
    return y


def _of_weight(
    dy: Tensor, x: Tensor, weight: Tensor, used_in: _Part, used_out: _Part, needed: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of the weight and of the masks: all three are sums over dyᵀ x.

    Rows are divided among slots as the shapes say; a slot's sums lie apart and are added in the end, in one order.
    """
    (count, rows, size_out), size_in = dy.shape, x.shape[2]
    tiles = WEIGHT[x.element_size(), needed[1] or needed[2]]
    blocks_out, blocks_in = triton.cdiv(size_out, tiles.rows), triton.cdiv(size_in, tiles.columns)
    steps = max(1, triton.cdiv(rows, tiles.step))
    each = triton.cdiv(steps, min(steps, triton.cdiv(_PROGRAMS, blocks_out * blocks_in)))
    slots = triton.cdiv(steps, each)
    shapes = (
        (slots, size_out, size_in),
        (slots, blocks_out, count, size_in),
        (slots, blocks_in, count, size_out),
    )
    sums = [
        torch.empty(shape if wanted else (0,), dtype=_wide(x), device=x.device)
        for shape, wanted in zip(shapes, needed, strict=True)
    ]
    if any(needed):
        _weight_gradient[(blocks_out * blocks_in * slots,)](
            dy,
            dy.stride(0),
            dy.stride(1),
            x,
            x.stride(0) if len(x) > 1 else 0,
            x.stride(1),
            weight.contiguous(),
            used_in.stops,
            used_in.mask,
            used_out.stops,
            used_out.mask,
            *sums,
            count,
            rows,
            size_in,
            size_out,
            each,
            MASKED_IN=used_in.masked,
            MASKED_OUT=used_out.masked,
            OF_WEIGHT=needed[0],
            OF_INPUTS=needed[1],
            OF_OUTPUTS=needed[2],
            **_constants(tiles, x),
        )
    of_weight, of_inputs, of_outputs = sums
    return (
        of_weight.sum(0).to(x.dtype) if needed[0] else None,
        of_inputs.sum((0, 1)) if needed[1] else None,
        of_outputs.sum((0, 1)) if needed[2] else None,
    )


def _with_rows(tensor: Tensor) -> Tensor:
    """[S, R, K] of which the numbers of a row lie next to each other."""
    return tensor if tensor.stride(2) == 1 else tensor.contiguous()


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _parts(x: Tensor, weight: Tensor, inputs: Tensor | None, outputs: Tensor | None) -> tuple[_Part, _Part]:
    count = next((len(part) for part in (inputs, outputs) if part is not None), len(x))
    return _part(inputs, count, weight.shape[1], x), _part(outputs, count, len(weight), x)


def _part(part: Tensor | None, count: int, size: int, x: Tensor) -> _Part:
    if part is None:
        stops = torch.full((count,), size, dtype=torch.int32, device=x.device)
    elif part.is_floating_point():
        places = torch.arange(1, size + 1, dtype=torch.int32, device=x.device)
        return _Part(torch.where(part != 0, places, 0).amax(1), part.contiguous(), True)
    else:
        stops = part.contiguous()
    return _Part(stops, stops, False)


def _left_out(part: _Part, like: Tensor) -> tuple[Tensor, Tensor | int]:
    """What devices do not use, bool [T, size], and the factors of the rest."""
    if part.masked:
        return part.mask == 0, part.mask
    return torch.arange(like.shape[1], device=like.device) >= part.stops[:, None], 1


def _tiles(x: Tensor, masked: bool, count: int, rows: int, columns: int) -> tuple[Tiles, int]:
    """The tiles of `count` products [rows, columns], and how many one product has."""
    candidates = PRODUCT[x.element_size(), masked]
    blocks = [triton.cdiv(rows, tiles.rows) * triton.cdiv(columns, tiles.columns) for tiles in candidates]
    large_enough = (k for k, found in enumerate(blocks) if found * count >= _MANY)
    k = next(large_enough, len(candidates) - 1)
    return candidates[k], blocks[k]


def _constants(tiles: Tiles, x: Tensor) -> dict[str, Any]:
    return {
        "ROWS": tiles.rows,
        "COLUMNS": tiles.columns,
        "STEP": tiles.step,
        "WIDE": tl.float64 if x.dtype == torch.float64 else tl.float32,
        "num_warps": tiles.warps,
        "num_stages": tiles.stages,
    }


@triton.jit(do_not_specialize=["rows"])
def _products_of_tiles(
    left,  # [S, R, K]
    left_device,
    left_row,
    right,  # [N, K]
    right_row,
    right_column,
    bias,  # [N]
    stops_in,
    mask_in,
    stops_out,
    mask_out,
    y,  # [T, R, N]
    rows,
    size_in,
    size_out,
    BIAS: tl.constexpr,
    MASKED_IN: tl.constexpr,
    MASKED_OUT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
    WIDE: tl.constexpr,
):
    blocks, program = tl.cdiv(size_out, COLUMNS), tl.program_id(0)
    device = program // blocks // tl.cdiv(rows, ROWS)
    first = program % blocks * COLUMNS  # neighbouring programs share rows
    column = first + tl.arange(0, COLUMNS)
    row = program // blocks % tl.cdiv(rows, ROWS) * ROWS + tl.arange(0, ROWS)
    rows_there, columns_there = (row < rows)[:, None], (column < size_out)[None, :]
    stop_in, stop_out = _stop(stops_in, device, size_in), _stop(stops_out, device, size_out)
    total = _product(
        tl.zeros((ROWS, COLUMNS), dtype=WIDE),
        left + device.to(tl.int64) * left_device + row.to(tl.int64)[:, None] * left_row,
        rows_there,
        right + column.to(tl.int64)[None, :] * right_row,
        right_column,
        columns_there,
        mask_in + device.to(tl.int64) * size_in,
        tl.where(first < stop_out, stop_in, 0),
        MASKED_IN,
        STEP,
    )
    if BIAS:
        total += tl.load(bias + column, mask=column < stop_out, other=0.0).to(WIDE)[None, :]
    used, factors = _factors(mask_out, device, column, size_out, stop_out, MASKED_OUT, WIDE)
    total = tl.where(used[None, :], total * factors[None, :], 0.0)
    found = y + (device.to(tl.int64) * rows + row[:, None]) * size_out + column[None, :]
    tl.store(found, total.to(y.dtype.element_ty), mask=rows_there & columns_there)


@triton.jit(do_not_specialize=["count", "rows", "steps"])
def _weight_gradient(
    dy,  # [T, R, N]
    dy_device,
    dy_row,
    x,  # [S, R, K]
    x_device,
    x_row,
    weight,  # [N, K]
    stops_in,
    mask_in,
    stops_out,
    mask_out,
    of_weight,  # [slots, N, K]
    of_inputs,  # [slots, N / ROWS, T, K]
    of_outputs,  # [slots, K / COLUMNS, T, N]
    count,
    rows,
    size_in,
    size_out,
    steps,  # of a slot
    MASKED_IN: tl.constexpr,
    MASKED_OUT: tl.constexpr,
    OF_WEIGHT: tl.constexpr,
    OF_INPUTS: tl.constexpr,
    OF_OUTPUTS: tl.constexpr,
    ROWS: tl.constexpr,  # of the weight: outputs
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
    WIDE: tl.constexpr,
):
    blocks_in, blocks_out = tl.cdiv(size_in, COLUMNS), tl.cdiv(size_out, ROWS)
    block_in, block_out = tl.program_id(0) % blocks_in, tl.program_id(0) // blocks_in % blocks_out
    slot = tl.program_id(0) // blocks_in // blocks_out
    n, k = block_out * ROWS + tl.arange(0, ROWS), block_in * COLUMNS + tl.arange(0, COLUMNS)
    places = n.to(tl.int64)[:, None] * size_in + k[None, :]
    inside = (n < size_out)[:, None] & (k < size_in)[None, :]
    first, last = slot * steps * STEP, tl.minimum((slot + 1) * steps * STEP, rows)
    total = tl.zeros((ROWS, COLUMNS), dtype=WIDE)
    for device in range(count):
        stop_in, stop_out = _stop(stops_in, device, size_in), _stop(stops_out, device, size_out)
        used_in, factors_in = _factors(mask_in, device, k, size_in, stop_in, MASKED_IN, WIDE)
        used_out, factors_out = _factors(mask_out, device, n, size_out, stop_out, MASKED_OUT, WIDE)
        in_sight, out_sight = block_in * COLUMNS < stop_in, block_out * ROWS < stop_out
        active = in_sight & out_sight
        if OF_INPUTS:
            active = active | out_sight
        if OF_OUTPUTS:
            active = active | in_sight
        part = tl.zeros((ROWS, COLUMNS), dtype=WIDE)
        dy_columns = dy + tl.cast(device, tl.int64) * dy_device + n[None, :]
        x_columns = x + tl.cast(device, tl.int64) * x_device + k[None, :]
        for start in range(first, tl.where(active, last, first), STEP):
            row = (start + tl.arange(0, STEP))[:, None]
            left = tl.load(
                dy_columns + row.to(tl.int64) * dy_row, mask=(row < last) & (n < size_out)[None, :], other=0.0
            )
            right = tl.load(x_columns + row.to(tl.int64) * x_row, mask=(row < last) & (k < size_in)[None, :], other=0.0)
            if OF_INPUTS or OF_OUTPUTS:
                left, right = _counted(left, used_out[None, :]), _counted(right, used_in[None, :])
            part = tl.dot(tl.trans(left), right, part, input_precision="ieee", out_dtype=WIDE)
        if OF_WEIGHT:
            scaled = part * factors_out[:, None] * factors_in[None, :]
            total += tl.where(used_out[:, None] & used_in[None, :], scaled, 0.0)
        if OF_INPUTS or OF_OUTPUTS:
            numbers = tl.load(weight + places, mask=inside, other=0.0)
            part *= _counted(numbers, used_out[:, None] & used_in[None, :]).to(WIDE)
            if OF_INPUTS:
                sums = tl.sum(tl.where(used_out[:, None], part * factors_out[:, None], 0.0), axis=0)
                place = (slot.to(tl.int64) * blocks_out + block_out) * count + device
                tl.store(of_inputs + place * size_in + k, sums, mask=k < size_in)
            if OF_OUTPUTS:
                sums = tl.sum(tl.where(used_in[None, :], part * factors_in[None, :], 0.0), axis=1)
                place = (slot.to(tl.int64) * blocks_in + block_in) * count + device
                tl.store(of_outputs + place * size_out + n, sums, mask=n < size_out)
    if OF_WEIGHT:
        tl.store(of_weight + slot.to(tl.int64) * size_out * size_in + places, total, mask=inside)


@triton.jit
def _stop(stops, device, size):
    """Where the part ends that a device uses: int32, in 0..size."""
    return tl.minimum(tl.maximum(tl.load(stops + device), 0), size).to(tl.int32)


@triton.jit
def _factors(mask, device, index, size, stop, MASKED: tl.constexpr, WIDE: tl.constexpr):
    """Which of the numbers at `index` a device uses, and their factors."""
    if MASKED:
        factors = tl.load(mask + tl.cast(device, tl.int64) * size + index, mask=index < size, other=0.0)
        return factors != 0, factors
    else:
        return index < stop, tl.full(index.shape, 1.0, dtype=WIDE)


@triton.jit
def _product(
    total,  # [R, C]
    left,  # pointers [R, 1]
    left_there,
    right,  # pointers [1, C]
    right_step,
    right_there,
    mask,  # pointer to the factors of j
    stop,
    MASKED: tl.constexpr,
    STEP: tl.constexpr,
):
    """total[r, c] + Σ_{j < stop} left[r, j] mask[j] right[j, c]"""
    whole = stop // STEP * STEP
    for start in range(0, whole, STEP):  # without a mask on j, so that loads can be 16 bytes wide
        j = start + tl.arange(0, STEP)
        a = tl.load(left + j[None, :], mask=left_there, other=0.0)
        b = tl.load(right + j.to(tl.int64)[:, None] * right_step, mask=right_there, other=0.0)
        if MASKED:
            a, b = _weighted(a, b, tl.load(mask + j))
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=total.dtype)
    if whole < stop:
        j = whole + tl.arange(0, STEP)
        there = j < stop
        a = tl.load(left + j[None, :], mask=left_there & there[None, :], other=0.0)
        b = tl.load(right + j.to(tl.int64)[:, None] * right_step, mask=right_there & there[:, None], other=0.0)
        if MASKED:
            a, b = _weighted(a, b, tl.load(mask + j, mask=there, other=0.0))
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=total.dtype)
    return total


@triton.jit
def _weighted(a, b, factors):
    """a[r, j] factors[j] and b[j, c], both 0 where the factor is."""
    used, columns = factors != 0, factors[None, :]
    return tl.where(used[None, :], a.to(factors.dtype) * columns, 0.0).to(a.dtype), tl.where(used[:, None], b, 0.0)


@triton.jit
def _counted(numbers, used):
    """The numbers, with 0 for what is not used and not finite."""
    wide = numbers
    if numbers.dtype.primitive_bitwidth == 16:
        wide = numbers.to(tl.float32)
    return tl.where(used | (tl.abs(wide) < float("inf")), numbers, 0.0)
