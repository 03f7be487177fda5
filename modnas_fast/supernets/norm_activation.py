"""Batch normalisation and activation in one: what stands behind the convolutions of a mobile network.

Both only move memory, and take more time than the products between them. Here the input is read twice and the output
written once; the backward pass computes from the input anew what it needs, instead of keeping what lay between.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modnas_fast.mgd.tracing import traced
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets import elastic_depthwise_reference as reference

Statistics = tuple[Tensor, Tensor]
_FLOATS = (torch.float32, torch.float64)


def norm_activation(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    activation: str | None = None,
    eps: float = 1e-5,
    statistics: Statistics | None = None,
    *,
    residual: Tensor | None = None,
    observe: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """y = f((x − mean) / √(variance + ε) · γ + β) + residual, per channel: [B, C, H, W] in the dtype of x.

    Args:
        x: [B, C, H, W]; fastest in channels_last, on the CPU in float32 or float64.
        scale, shift: γ and β [C] or longer, of which the first C count, in the dtype of x.
        activation: f: "relu", "hswish" or None.
        eps: ε.
        statistics: mean and variance [C] or longer, as constants; None: those of the batch, with their gradient.
        residual: of the shape of x, or None.
        observe: called with the mean and the biased variance [C] that x was normalised with, without gradient.

    Differentiable once in x, scale, shift and residual where a fast implementation serves.

    Raises InputError where shapes, formats or devices do not fit.

    >>> x = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    >>> statistics = torch.tensor([2.0]), torch.tensor([0.25])
    >>> norm_activation(x, torch.ones(1), torch.zeros(1), "relu", 0.0, statistics).flatten().tolist()
    [0.0, 2.0]
    """
    check_input(x)
    scale, shift, statistics = norm_of(x, x.numel() // x.shape[1], scale, shift, activation, statistics)
    if residual is not None and (residual.shape != x.shape or residual.dtype != x.dtype):
        raise InputError(
            f"residual must be {x.dtype} of shape {list(x.shape)} as x, not {residual.dtype} {list(residual.shape)}"
        )
    name = serving("norm_activation", x, scale, shift)
    if name == "reference":
        y, *seen = reference.norm_activation(x, scale, shift, activation, eps, statistics, residual)
    else:
        seen = []
        y = Block.apply(load(name), seen, x, None, 1, scale, shift, activation, eps, statistics, residual)
    if observe is not None:
        observe(*(tensor.detach() for tensor in seen))
    return y


class Block(torch.autograd.Function):
    """One of the fast implementations: a depth-wise convolution where there are taps, norm, activation, residual.

    Appends the mean and the variance to `seen`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        module: Any,
        seen: list[Tensor],
        x: Tensor,
        taps: Tensor | None,
        stride: int,
        scale: Tensor,
        shift: Tensor,
        activation: str | None,
        eps: float,
        statistics: Statistics | None,
        residual: Tensor | None,
    ) -> Tensor:
        y: Tensor
        y, mean, variance, saved = module.forward(x, taps, stride, scale, shift, activation, eps, statistics, residual)
        seen += mean, variance
        ctx.module, ctx.options = module, (stride, activation, eps, statistics is not None)
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        _, _, of_x, of_taps, *_, of_residual = ctx.needs_input_grad
        dx, dtaps, dscale, dshift = ctx.module.backward(dy, ctx.saved_tensors, ctx.options, of_x, of_taps)
        return None, None, dx, dtaps, None, dscale, dshift, None, None, None, dy if of_residual else None


_MODULES = {
    "c++": "modnas_fast.supernets.elastic_depthwise_compiled",
    "triton": "modnas_fast.kernels.elastic_depthwise",
}


def load(name: str) -> Any:
    """An implementation's module, imported when first called for, since that of Triton imports triton."""
    return importlib.import_module(_MODULES[name])


def serving(op: str, x: Tensor, *others: Tensor) -> str:
    """The name of what computes: the reference also where tensors are traced, and for formats that only it knows."""
    if x.dtype not in _FLOATS or not x.numel() or any(map(traced, (x, *others))):
        return "reference"
    return implementations.chosen(op, x.device.type).name


def check_input(x: Tensor) -> None:
    """Raises InputError where x is no batch of planes of channels."""
    if x.ndim != 4 or x.shape[1] == 0:
        raise InputError(f"x must have shape [B, C, H, W] with C at least 1, not {list(x.shape)}")


def norm_of(
    x: Tensor, count: int, scale: Tensor, shift: Tensor, activation: str | None, statistics: Statistics | None
) -> tuple[Tensor, Tensor, Statistics | None]:
    """The first C of scale, shift and statistics, checked; `count` numbers of each channel are normalised."""
    if activation not in reference.ACTIVATIONS:
        raise InputError(f"activation must be relu, hswish or None, not {activation!r}")
    found = [first_of(name, tensor, x) for name, tensor in (("scale", scale), ("shift", shift))]
    if statistics is None:
        if count < 2:
            raise InputError("statistics of a batch need two numbers per channel; give statistics, or a larger batch")
        return found[0], found[1], None
    mean, variance = statistics
    seen = first_of("the mean", mean.detach(), x), first_of("the variance", variance.detach(), x)
    return found[0], found[1], seen


def first_of(name: str, tensor: Tensor, x: Tensor) -> Tensor:
    """The first C rows of a tensor, as many as x has channels."""
    count = x.shape[1]
    if tensor.ndim == 0 or len(tensor) < count:
        raise InputError(f"{name} must have at least the {count} channels of x, not shape {list(tensor.shape)}")
    if tensor.dtype != x.dtype:
        raise InputError(f"{name} is {tensor.dtype}, but x is {x.dtype}; use .to(x.dtype)")
    if tensor.device != x.device:
        raise InputError(f"{name} is on {tensor.device}, but x is on {x.device}; use .to(x.device)")
    return tensor if len(tensor) == count else tensor[:count]
