"""The Gramian of gradients, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.rows import Piece, row_pointers, rows_of, widened

_LARGEST_BLOCK = 32  # rows
_COLUMNS = 64  # that a program loads at a time
_TILES = 16  # of _COLUMNS, the least that a program takes
_PROGRAMS = 1024  # that a piece is divided among, unless it has more blocks
_SLOTS = 256  # partial sums of one number that the second stage loads at a time


def gramian(pieces: Sequence[Piece]) -> Tensor:
    """G[b, s, t] = Σ over pieces of ⟨row s, row t⟩: float64 [B, T, T], bit for bit symmetric.

    Args:
        pieces: at least one tensor; float64, float32, float16 or bfloat16, also mixed; all of the same B and T.

    How columns are divided among programs depends on T and P alone. Each program adds its sums of one piece after the
    other to a slot of its own, and a second kernel adds the slots in a fixed order: equal inputs give equal bits.
    """
    matrices = isinstance(pieces[0], Tensor)
    like = pieces[0] if matrices else next(row for piece in pieces for row in piece if row is not None)
    batch, count = pieces[0].shape[:2] if matrices else (1, len(pieces[0]))
    block = max(8, min(_LARGEST_BLOCK, triton.next_power_of_2(count)))
    blocks = triton.cdiv(count, block)
    found = [rows for rows in rows_of(pieces) if rows is not None]
    plans = [_plan(rows.length, blocks) for rows in found]
    slots = max((used for used, _ in plans), default=1)
    partial = torch.zeros((slots, batch, count, count), dtype=torch.float64, device=like.device)
    with torch.cuda.device_of(like):
        for rows, (used, tiles) in zip(found, plans, strict=True):
            _add_products[(used * blocks**2 * batch,)](
                *rows.arguments,
                partial,
                batch,
                count,
                rows.length,
                blocks,
                used,
                tiles,
                BLOCK=block,
                COLUMNS=_COLUMNS,
                ONE_BLOCK=blocks == 1,
                num_warps=block // 8 if blocks == 1 else 8,
            )
        return _sum_of_slots(partial)


def _plan(length: int, blocks: int) -> tuple[int, int]:
    """Among how many slots the columns of a piece are divided, and how many tiles each takes."""
    tiles = triton.cdiv(length, _COLUMNS)
    programs = max(1, min(_PROGRAMS // blocks**2, tiles // _TILES))
    each = triton.cdiv(tiles, programs)
    return triton.cdiv(tiles, each), each


def _sum_of_slots(partial: Tensor) -> Tensor:
    slots, batch, count, _ = partial.shape
    out = torch.empty(partial.shape[1:], dtype=torch.float64, device=partial.device)
    at_a_time = min(_SLOTS, triton.next_power_of_2(slots))
    numbers = max(16, 1024 // at_a_time)
    if out.numel():
        _add_slots[(triton.cdiv(out.numel(), numbers),)](
            partial, out, slots, batch, count, SLOTS=at_a_time, NUMBERS=numbers
        )
    return out


# Tiles of 8, 16 or 32 rows go through tl.dot, which in float64 is the tensor cores' DMMA from sm_80 on, fed by
# asynchronous copies of 16 bytes. As products of broadcast tiles, 8 rows would take 188 registers already. The fewer
# warps share a tile, the fewer numbers are widened more than once; where two tiles are loaded, 4 warps would spill.
@triton.jit(do_not_specialize=["batches", "count", "length", "blocks", "slots", "tiles"])
def _add_products(
    memory,
    stride_batch,
    stride_row,
    stride_column,
    DTYPE: tl.constexpr,
    ALIGNED: tl.constexpr,
    partial,  # [slots, B, T, T]
    batches,
    count,
    length,
    blocks,
    slots,
    tiles,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    ONE_BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    # Blocks of the same columns are neighbours, for the sake of the L2 cache.
    block_row, block_column = program // blocks % blocks, program % blocks
    slot, batch = program // (blocks * blocks) % slots, program // (blocks * blocks) // slots
    if block_column > block_row:
        return

    start = slot.to(tl.int64) * tiles * COLUMNS
    stop = tl.minimum(start + tiles.to(tl.int64) * COLUMNS, length)
    whole = start + (stop - start) // COLUMNS * COLUMNS
    row = block_row * BLOCK + tl.arange(0, BLOCK)
    other_row = block_column * BLOCK + tl.arange(0, BLOCK)
    rows, present = row_pointers(memory, stride_batch, stride_row, DTYPE, ALIGNED, batch, row, row < count)
    if not ONE_BLOCK:
        others, others_present = row_pointers(
            memory, stride_batch, stride_row, DTYPE, ALIGNED, batch, other_row, other_row < count
        )

    total = tl.zeros((BLOCK, BLOCK), dtype=tl.float64)
    for column in range(start, whole, COLUMNS):  # without a mask on columns, so that loads can be 16 bytes wide
        offset = (column + tl.arange(0, COLUMNS))[None, :] * stride_column
        tile = _operand(tl.load(rows[:, None] + offset, mask=present[:, None], other=0.0))
        if ONE_BLOCK:
            total = tl.dot(tile, tl.trans(tile), total, out_dtype=tl.float64)
        else:
            other = _operand(tl.load(others[:, None] + offset, mask=others_present[:, None], other=0.0))
            total = tl.dot(tile, tl.trans(other), total, out_dtype=tl.float64)

    column = whole + tl.arange(0, COLUMNS)[None, :]
    rest = column < stop
    tile = _operand(tl.load(rows[:, None] + column * stride_column, mask=present[:, None] & rest, other=0.0))
    if ONE_BLOCK:
        total = tl.dot(tile, tl.trans(tile), total, out_dtype=tl.float64)
    else:
        other = tl.load(others[:, None] + column * stride_column, mask=others_present[:, None] & rest, other=0.0)
        total = tl.dot(tile, tl.trans(_operand(other)), total, out_dtype=tl.float64)

    sums = partial + ((slot.to(tl.int64) * batches + batch) * count + row[:, None]) * count + other_row[None, :]
    inside = (row < count)[:, None] & (other_row < count)[None, :]
    tl.store(sums, tl.load(sums, mask=inside, other=0.0) + total, mask=inside)


@triton.jit
def _operand(tile):
    """A tile in float64, for tl.dot."""
    if tile.dtype.primitive_bitwidth == 16:
        # Triton up to 3.8 derives a wrong layout where it sees through the conversion; sums of one addend hide it.
        return tl.sum(widened(tile)[:, :, None], axis=2)
    return widened(tile)


@triton.jit(do_not_specialize=["slots", "batches", "count"])
def _add_slots(
    partial,  # [slots, B, T, T], of which the lower triangle counts
    out,  # [B, T, T]
    slots,
    batches,
    count,
    SLOTS: tl.constexpr,
    NUMBERS: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * NUMBERS + tl.arange(0, NUMBERS)
    numbers = batches.to(tl.int64) * count * count
    inside = index < numbers
    row, column = index // count % count, index % count
    mirrored = index // count // count * count * count + tl.maximum(row, column) * count + tl.minimum(row, column)
    total = tl.zeros((SLOTS, NUMBERS), dtype=tl.float64)
    for first in range(0, slots, SLOTS):
        slot = first + tl.arange(0, SLOTS)
        addends = partial + slot.to(tl.int64)[:, None] * numbers + mirrored[None, :]
        total += tl.load(addends, mask=(slot < slots)[:, None] & inside[None, :], other=0.0)
    tl.store(out + index, tl.sum(total, axis=0), mask=inside)
