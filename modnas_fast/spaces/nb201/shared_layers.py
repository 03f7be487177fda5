"""The shared weights of a supernet's layers, and the layers that are the same for every architecture."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.nb201.convolution import conv2d
from modnas_fast.spaces.nb201.network import CONV_1X1, CONV_3X3, EDGES
from modnas_fast.supernets.batch_statistics import shared_statistics, whole_batch_norm


class Norm(nn.Module):
    """Batch normalisation with the statistics of each device's own rows.

    Args:
        channels: C.
        affine: scale [C] and shift [C], for all devices the same, as the published supernet has them.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, channels: int, affine: bool = False) -> None:
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.ones(channels)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if affine else None)

    def forward(self, x: Tensor, devices: int = 1) -> Tensor:
        """[devices·B, C, H, W], of the format of x; scale and shift are at least in float32."""
        if self.weight is None or self.bias is None:
            return batch_norm(x, devices)
        form = torch.promote_types(x.dtype, torch.float32)
        return batch_norm(x, devices, self.weight.to(form), self.bias.to(form))


def batch_norm(x: Tensor, devices: int = 1, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """[devices·B, C, H, W] normalised with the statistics of each device's own B rows, then scaled and shifted.

    Devices stand side by side as further channels for it: [B, H, W, devices·C] in memory, so that images which lie as
    channels_last come as such and leave as such, by one copy on the way in and one on the way out. The rows may be
    divided among ranks, see `supernets.batch_statistics`.
    """
    if shared_statistics():
        return whole_batch_norm(x, devices, weight, bias)
    if devices == 1:
        return F.batch_norm(x, None, None, weight, bias, training=True)
    scale, shift = (part if part is None else part.repeat(devices) for part in (weight, bias))
    beside: Tensor = _Beside.apply(x, devices)
    return _InARow.apply(F.batch_norm(beside, None, None, scale, shift, training=True), devices)


class _Beside(torch.autograd.Function):
    """[B, devices·C, H, W] of [devices·B, C, H, W], channels_last in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, devices: int) -> Tensor:
        ctx.devices = devices
        parts = x.unflatten(0, (devices, -1))  # [T, B, C, H, W]
        return parts.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _InARow.apply(gradient, ctx.devices), None


class _InARow(torch.autograd.Function):
    """The inverse of `_Beside`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, devices: int) -> Tensor:
        ctx.devices = devices
        parts = x.permute(0, 2, 3, 1).unflatten(3, (devices, -1))  # [B, H, W, T, C]
        return parts.permute(3, 0, 1, 2, 4).flatten(0, 1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Beside.apply(gradient, ctx.devices), None


def convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution without bias, its weights rounded to the format of x."""
    (stride, _), padding = convolution.stride, convolution.padding
    assert not isinstance(padding, str)
    return conv2d(x, convolution.weight.to(x.dtype), stride, padding[0])


class SharedCell(nn.Module):
    """Weights of every operation on every edge of one cell.

    Args:
        channels: C.
        entangled: the 1×1 kernel of an edge is the centre of its 3×3 kernel.
    """

    def __init__(self, channels: int, entangled: bool = False) -> None:
        super().__init__()
        self.entangled = entangled
        if not entangled:
            self.kernels_1x1 = _initial_kernels(channels)
        self.kernels_3x3 = _initial_kernels(channels, 3, 3)

    def kernels(self) -> tuple[Tensor, Tensor]:
        """One kernel per edge: [6, C, C] and [6, C, C, 3, 3], output by input channels."""
        return self.kernels_3x3[..., 1, 1] if self.entangled else self.kernels_1x1, self.kernels_3x3

    def kernel(self, edge: int, operation: int) -> Tensor:
        """[C, C, k, k] of a convolution."""
        small, large = self.kernels()
        return {CONV_1X1: small[edge, :, :, None, None], CONV_3X3: large[edge]}[operation]


def _initial_kernels(channels: int, *size: int) -> nn.Parameter:
    """One kernel per edge with the initial distribution of torch.nn.Conv2d."""
    kernels = torch.empty(len(EDGES), channels, channels, *size)
    bound = 1 / math.sqrt(channels * math.prod(size))
    return nn.Parameter(nn.init.uniform_(kernels, -bound, bound))


class SharedResidual(nn.Module):
    """The residual block between stages; the same for every architecture."""

    def __init__(self, inputs: int, affine: bool = False) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, 2 * inputs, 3, stride=2, padding=1, bias=False)
        self.refine = nn.Conv2d(2 * inputs, 2 * inputs, 3, padding=1, bias=False)
        self.project = nn.Conv2d(inputs, 2 * inputs, 1, bias=False)
        self.reduce_norm = Norm(2 * inputs, affine)
        self.refine_norm = Norm(2 * inputs, affine)

    def forward(self, x: Tensor, devices: int = 1) -> Tensor:
        """[devices·B, 2C, H/2, W/2] from [devices·B, C, H, W]."""
        reduced = self.reduce_norm(convolve(self.reduce, F.relu(x)), devices)
        refined = self.refine_norm(convolve(self.refine, F.relu(reduced)), devices)
        return convolve(self.project, F.avg_pool2d(x, 2, 2, ceil_mode=True)) + refined


class SharedPool(nn.Module):
    """The light reduction between stages; the same for every architecture."""

    def __init__(self, inputs: int, affine: bool = False) -> None:
        super().__init__()
        self.project = nn.Conv2d(inputs, 2 * inputs, 1, bias=False)
        self.project_norm = Norm(2 * inputs, affine)

    def forward(self, x: Tensor, devices: int = 1) -> Tensor:
        """[devices·B, 2C, H/2, W/2] from [devices·B, C, H, W]."""
        return self.project_norm(convolve(self.project, F.avg_pool2d(x, 2, 2, ceil_mode=True)), devices)
