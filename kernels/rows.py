"""Rows of T gradients where they lie: a strided matrix, or one address per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

#: a matrix [B, T, P] of any strides, or T contiguous tensors of one shape and dtype (None for zeros, B = 1)
Piece: TypeAlias = Tensor | Sequence[Tensor | None]

_TYPES = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
}
_ADDRESSES = 16  # that one launch stores
_ALIGNMENT = 16  # bytes that one instruction of a thread can load at once


class Rows(NamedTuple):
    """One piece as kernels take it."""

    like: Tensor  # a tensor of its dtype and device
    batch: int  # B
    count: int  # T
    length: int  # P
    arguments: tuple[Any, ...]  # of `row_pointers`, in the order memory, strides [3], dtype, aligned


def rows_of(pieces: Sequence[Piece]) -> list[Rows | None]:
    """Each piece as kernels take it; None where no tensor of it is there or none has numbers."""
    listed = [piece for piece in pieces if not isinstance(piece, Tensor)]
    tables = iter(_address_tables(listed))
    found: list[Rows | None] = []
    for piece in pieces:
        if isinstance(piece, Tensor):
            rows = Rows(piece, *piece.shape, (piece, *piece.stride(), None, False))
        else:
            like, table = next((row for row in piece if row is not None), None), next(tables)
            if like is None:
                found.append(None)
                continue
            aligned = all(row is None or row.data_ptr() % _ALIGNMENT == 0 for row in piece)
            rows = Rows(like, 1, len(piece), like.numel(), (table, 0, 0, 1, _TYPES[like.dtype], aligned))
        found.append(rows if rows.batch * rows.length else None)
    return found


def _address_tables(pieces: list[Sequence[Tensor | None]]) -> list[Tensor]:
    """int64 [T] on the device per piece, 0 for None.

    The addresses travel as arguments of kernels: that neither waits for the GPU nor leaves a host buffer behind that
    a captured graph would read again.
    """
    present = (row for piece in pieces for row in piece if row is not None)
    like = next(present, None)
    if like is None:
        return [torch.empty(0, dtype=torch.int64)] * len(pieces)
    addresses = [0 if row is None else row.data_ptr() for piece in pieces for row in piece]
    table = torch.empty(triton.cdiv(len(addresses), _ADDRESSES) * _ADDRESSES, dtype=torch.int64, device=like.device)
    with torch.cuda.device_of(like):
        for k in range(0, len(addresses), _ADDRESSES):
            some = addresses[k : k + _ADDRESSES]
            _store_addresses[(1,)](table[k:], *some, *[0] * (_ADDRESSES - len(some)), num_warps=1)
    return list(table[: len(addresses)].view(len(pieces), -1))


@triton.jit(do_not_specialize=[f"a{k}" for k in range(_ADDRESSES)])
def _store_addresses(
    table,  # int64 [16]
    a0: tl.int64,
    a1: tl.int64,
    a2: tl.int64,
    a3: tl.int64,
    a4: tl.int64,
    a5: tl.int64,
    a6: tl.int64,
    a7: tl.int64,
    a8: tl.int64,
    a9: tl.int64,
    a10: tl.int64,
    a11: tl.int64,
    a12: tl.int64,
    a13: tl.int64,
    a14: tl.int64,
    a15: tl.int64,
):
    addresses = (a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15)
    for k in tl.static_range(len(addresses)):
        tl.store(table + k, addresses[k])


@triton.jit
def row_pointers(memory, stride_batch, stride_row, DTYPE: tl.constexpr, ALIGNED: tl.constexpr, batch, row, present):
    """Pointers to the first numbers of rows int32 [R] of problem `batch`, and which of the rows `present` are there."""
    if DTYPE is None:
        pointers = memory + batch.to(tl.int64) * stride_batch + row.to(tl.int64) * stride_row
    else:
        addresses = tl.load(memory + row, mask=present, other=0)
        present = present & (addresses != 0)
        pointers = addresses.to(tl.pointer_type(DTYPE))
        if ALIGNED:
            pointers = tl.multiple_of(pointers, 16)
    return pointers, present


@triton.jit
def widened(numbers):
    """In float64."""
    if numbers.dtype == tl.bfloat16:  # the interpreter converts it to float32 only
        numbers = numbers.to(tl.float32)
    return numbers.to(tl.float64)
