"""Layer normalisation over the channels that each of S samples uses, and its gradients: a row in one piece.

With g = ∂y · m · γ, x̂ = c · s and b = Σ g x̂ / n over the channels of a row,

    ∂c = s (g − x̂ b)        ∂μ = −Σ ∂c m        ∂x = (∂c + ∂μ / n) m
    ∂m = Σ over rows of ∂y (x̂ γ + β) + (∂c + ∂μ / n) (x − μ) + ½ b s² var
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: programs that the backward pass of one sample's rows is divided among, at most; sums of each lie apart
_SLOTS = 64


def entangled_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y [S, R, E] in the dtype of x, and what `gradients` needs: means and scales [S, R] in float32 or float64.

    Args:
        x: [S, R, E].
        weight, bias: [E].
        mask: [S, E].
        epsilon: added to variances.
    """
    count, rows, size = x.shape
    x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype, device=x.device)
    mean, scale = (torch.empty((count, rows), dtype=_wide(x), device=x.device) for _ in range(2))
    if y.numel():
        with torch.cuda.device_of(x):
            _normalise[(count * rows,)](
                x, weight.contiguous(), bias.contiguous(), mask.contiguous(), y, mean, scale, rows, size,
                **_constants(x, epsilon),
            )  # fmt: skip
    return y, mean, scale


def gradients(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, mean: Tensor, scale: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """By x, weight, bias and mask, from dy [S, R, E]."""
    count, rows, size = x.shape
    each = max(1, triton.cdiv(rows, _SLOTS))
    slots = max(1, triton.cdiv(rows, each))
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    sums = torch.zeros((3, count, slots, size), dtype=_wide(x), device=x.device)
    if dx.numel():
        with torch.cuda.device_of(x):
            _differentiate[(count * slots,)](
                dy.contiguous(), x.contiguous(), weight.contiguous(), bias.contiguous(), mask.contiguous(), mean, scale,
                dx, sums[0], sums[1], sums[2], rows, size, each, slots, **_constants(x, epsilon),
            )  # fmt: skip
    of_weight, of_bias, of_mask = sums
    return dx, of_weight.sum((0, 1)).to(x.dtype), of_bias.sum((0, 1)).to(x.dtype), of_mask.sum(1).to(x.dtype)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _constants(x: Tensor, epsilon: float) -> dict[str, object]:
    size = triton.next_power_of_2(x.shape[-1])
    wide = tl.float64 if x.dtype == torch.float64 else tl.float32
    warps = min(8, max(1, size // 128))
    return {"SIZE": size, "WIDE": wide, "EPSILON": epsilon, "num_warps": warps, "num_stages": 1}


@triton.jit(do_not_specialize=["rows"])
def _normalise(
    x,  # [S, R, E]
    weight,
    bias,
    mask,  # [S, E]
    y,
    means,  # [S, R]
    scales,
    rows,
    size,
    SIZE: tl.constexpr,
    WIDE: tl.constexpr,
    EPSILON: tl.constexpr,  # an argument would be rounded to float32
):
    row, channel = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    there = channel < size
    used = tl.load(mask + row // rows * size + channel, mask=there, other=0.0).to(WIDE)
    numbers = tl.load(x + row * size + channel, mask=there, other=0.0).to(WIDE)
    count = tl.sum(used, axis=0)
    mean = tl.sum(numbers * used, axis=0) / count
    centred = (numbers - mean) * used
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / count + EPSILON)
    gamma = tl.load(weight + channel, mask=there, other=0.0).to(WIDE)
    beta = tl.load(bias + channel, mask=there, other=0.0).to(WIDE)
    found = (centred * scale * gamma + beta) * used
    tl.store(y + row * size + channel, tl.where(used != 0, found, 0.0).to(y.dtype.element_ty), mask=there)
    tl.store(means + row, mean)
    tl.store(scales + row, scale)


@triton.jit(do_not_specialize=["rows", "each", "slots"])
def _differentiate(
    dy,  # [S, R, E]
    x,
    weight,
    bias,
    mask,  # [S, E]
    means,  # [S, R]
    scales,
    dx,
    of_weight,  # [S, slots, E]
    of_bias,
    of_mask,
    rows,
    size,
    each,  # rows of a slot
    slots,
    SIZE: tl.constexpr,
    WIDE: tl.constexpr,
    EPSILON: tl.constexpr,  # an argument would be rounded to float32
):
    sample, slot = tl.program_id(0).to(tl.int64) // slots, tl.program_id(0).to(tl.int64) % slots
    channel = tl.arange(0, SIZE)
    there = channel < size
    used = tl.load(mask + sample * size + channel, mask=there, other=0.0).to(WIDE)
    gamma = tl.load(weight + channel, mask=there, other=0.0).to(WIDE)
    beta = tl.load(bias + channel, mask=there, other=0.0).to(WIDE)
    count = tl.sum(used, axis=0)
    by_weight = tl.zeros((SIZE,), dtype=WIDE)
    by_bias = tl.zeros((SIZE,), dtype=WIDE)
    by_mask = tl.zeros((SIZE,), dtype=WIDE)
    for row in range(slot * each, tl.minimum((slot + 1) * each, rows)):
        place = sample * rows + row
        numbers = tl.load(x + place * size + channel, mask=there, other=0.0).to(WIDE)
        gradient = tl.load(dy + place * size + channel, mask=there, other=0.0).to(WIDE)
        mean, scale = tl.load(means + place), tl.load(scales + place)
        away = tl.where(there, numbers - mean, 0.0)
        normed = away * used * scale
        g = gradient * used * gamma
        b = tl.sum(g * normed, axis=0) / count
        centred = scale * (g - normed * b)
        through = centred - tl.sum(centred * used, axis=0) / count
        tl.store(dx + place * size + channel, (through * used).to(dx.dtype.element_ty), mask=there)
        by_weight += gradient * used * normed
        by_bias += gradient * used
        share = 0.5 * b * (1.0 - EPSILON * scale * scale)
        by_mask += gradient * (normed * gamma + beta) + through * away + share
    found = (sample * slots + slot) * size + channel
    tl.store(of_weight + found, by_weight, mask=there)
    tl.store(of_bias + found, by_bias, mask=there)
    tl.store(of_mask + found, by_mask, mask=there)
