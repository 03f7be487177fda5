"""A Triton kernel with a fault on demand. Importing it imports triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def copy(source, target, count, FAULT: tl.constexpr, SIZE: tl.constexpr):
    """Copies some numbers per program."""
    place = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    inside = place < count
    values = tl.load(source + place, mask=(inside if FAULT != "no mask on load" else place >= 0), other=0.0)
    tl.store(target + place, values, mask=(inside if FAULT != "no mask on store" else place >= 0))
    if FAULT == "two write":
        tl.store(target, 1.0)
    if FAULT == "one reads":
        tl.store(target + place, values + tl.load(target), mask=inside)
