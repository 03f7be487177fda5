"""The weighted sum of gradients: float64, rounded once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from modnas_fast.kernels.rows import Piece, row_pointers, rows_of, widened

_ROWS = 8  # loaded at a time
_COLUMNS = 512


def combine(weights: Tensor, pieces: Sequence[Piece]) -> list[Tensor | None]:
    """Σ_t weights[b, t] × row t of each piece: [B, P] in its dtype; None for a piece of which no row is there.

    Args:
        weights: float64 [B, T], contiguous. Rows of weight 0 are not read.
        pieces: float64, float32, float16 or bfloat16, also mixed; all of the same B and T.
    """
    sums: list[Tensor | None] = []
    for piece, rows in zip(pieces, rows_of(pieces), strict=True):
        like = piece if isinstance(piece, Tensor) else next((row for row in piece if row is not None), None)
        if like is None:
            sums.append(None)
            continue
        length = piece.shape[2] if isinstance(piece, Tensor) else like.numel()
        out = torch.empty((len(weights), length), dtype=like.dtype, device=like.device)
        if rows is not None:
            with torch.cuda.device_of(like):
                blocks = triton.cdiv(length, _COLUMNS)
                _add_weighted[(blocks * rows.batch,)](
                    *rows.arguments, weights, out, rows.count, length, blocks, ROWS=_ROWS, COLUMNS=_COLUMNS
                )
        sums.append(out)
    return sums


@triton.jit(do_not_specialize=["count", "blocks"])
def _add_weighted(
    memory,
    stride_batch,
    stride_row,
    stride_column,
    DTYPE: tl.constexpr,
    ALIGNED: tl.constexpr,
    weights,  # [B, T]
    out,  # [B, P]
    count,
    length,
    blocks,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    batch, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    column = block.to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < length
    total = tl.zeros((COLUMNS,), dtype=tl.float64)
    for first in range(0, count, ROWS):
        row = first + tl.arange(0, ROWS)
        weight = tl.load(weights + batch.to(tl.int64) * count + row, mask=row < count, other=0.0)
        rows, present = row_pointers(memory, stride_batch, stride_row, DTYPE, ALIGNED, batch, row, weight != 0)
        read = present[:, None] & inside[None, :]
        tile = widened(tl.load(rows[:, None] + column[None, :] * stride_column, mask=read, other=0.0))
        total += tl.sum(tile * tl.where(present, weight, 0.0)[:, None], axis=0)
    tl.store(out + batch.to(tl.int64) * length + column, narrowed(total, out.dtype.element_ty), mask=inside)


@triton.jit
def narrowed(numbers, DTYPE: tl.constexpr):
    """float64 numbers in another format, rounded once, to nearest, ties to even."""
    if tl.bfloat16 == DTYPE:
        # By way of float32 they would be rounded twice: round to the 8 bits of a bfloat16 first.
        bits = numbers.to(tl.int64, bitcast=True)
        bits = (bits + 0xFFFFFFFFFFF + ((bits >> 45) & 1)) >> 45 << 45
        rounded = tl.where(numbers == numbers, bits.to(tl.float64, bitcast=True), numbers)
        return rounded.to(tl.float32).to(tl.bfloat16)
    return numbers.to(DTYPE)
