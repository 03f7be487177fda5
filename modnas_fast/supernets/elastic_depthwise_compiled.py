"""The compiled core's elastic_depthwise and norm_activation, on the CPU in channels_last.

The backward pass keeps the convolution's result alone, and computes the normalisation and the activation anew.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modnas_fast.kernels.fused_block import ACTIVATIONS, Found
from modnas_fast.runtime import implementations

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
    """As `modnas_fast.supernets.norm_activation.Block` asks for it; no residual where there are taps."""
    x, scale, shift = x.contiguous(memory_format=_LAST), scale.contiguous(), shift.contiguous()
    batch, channels, *sizes = x.shape
    out = [-(-size // stride) for size in sizes]
    y = torch.empty((batch, channels, *out), dtype=x.dtype, memory_format=_LAST)
    z = None if taps is None else torch.empty_like(y)
    taps = None if taps is None else taps.contiguous()
    residual = None if residual is None else residual.contiguous(memory_format=_LAST)
    if statistics is None:
        mean, variance = x.new_empty(channels), x.new_empty(channels)
    else:
        mean, variance = (tensor.contiguous() for tensor in statistics)
    _call("forward", x)(
        _sizes(x, taps, stride), ACTIVATIONS[activation], eps, statistics is not None, x.data_ptr(), _address(taps),
        scale.data_ptr(), shift.data_ptr(), _address(residual), torch.get_num_threads(), mean.data_ptr(),
        variance.data_ptr(), _address(z), y.data_ptr(),
    )  # fmt: skip
    return Found(y, mean, variance, (x, taps, scale, shift, mean, variance, z))


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
    dy = dy.contiguous(memory_format=_LAST)
    dx = torch.empty_like(x) if of_x else None
    dtaps = torch.empty_like(taps) if taps is not None and of_taps else None
    dscale, dshift = torch.empty_like(scale), torch.empty_like(shift)
    _call("backward", x)(
        _sizes(x, taps, stride), ACTIVATIONS[activation], eps, given, dy.data_ptr(), x.data_ptr(), _address(taps),
        scale.data_ptr(), shift.data_ptr(), mean.data_ptr(), variance.data_ptr(), _address(z),
        torch.get_num_threads(), _address(dx), _address(dtaps), dscale.data_ptr(), dshift.data_ptr(),
    )  # fmt: skip
    return dx, dtaps, dscale, dshift


def _call(name: str, x: Tensor) -> Any:
    return getattr(implementations.core(), f"block_{name}_{str(x.dtype).removeprefix('torch.')}")


def _sizes(x: Tensor, taps: Tensor | None, stride: int) -> list[int]:
    batch, channels, height, width = x.shape
    return [batch, height, width, channels, 0 if taps is None else taps.shape[-1], stride]


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
