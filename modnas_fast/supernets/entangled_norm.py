"""Layer normalisation whose scale and shift S samples share, each over the channels that it uses.

Channels are used by mixture masks, as in `entangled_linear`: 0 or 1 for the prefix of a hard sample, shares for a
mixture of prefixes (Sukthanker et al. 2023, arXiv 2312.10440).
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modnas_fast.mgd.tracing import traced
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets import entangled_norm_reference

_MODULES = {"triton": "modnas_fast.kernels.entangled_norm"}


def entangled_norm(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, epsilon: float = 1e-5) -> Tensor:
    """y_s = (x̂_s · γ + β) · m_s with x̂_s = c_s / √(Σ c_s² / n_s + ε), c_s = (x_s − Σ x_s m_s / n_s) · m_s, n_s = Σ m_s.

    Args:
        x: [S, ..., E], float64, float32, float16 or bfloat16.
        weight, bias: γ and β [E], in the dtype of x.
        mask: m [S, E] in the dtype of x, with at least one channel that is not 0 per sample.
        epsilon: ε.

    Returns [S, ..., E] in the dtype of x; channels of mask 0 are exactly 0. Differentiable once in all tensors where a
    fast implementation serves.

    Raises InputError where shapes, formats or devices do not fit.

    >>> x, mask = torch.tensor([[[1.0, 3.0, 7.0]]]), torch.tensor([[1.0, 1.0, 0.0]])
    >>> entangled_norm(x, torch.ones(3), torch.zeros(3), mask, epsilon=0.0).tolist()
    [[[-1.0, 1.0, 0.0]]]
    """
    _check(x, weight, bias, mask)
    rows = x.flatten(1, -2)
    arguments = rows, weight, bias, mask
    if (
        any(map(traced, arguments))
        or (name := implementations.chosen("entangled_norm", x.device.type).name) == "reference"
    ):
        return entangled_norm_reference.entangled_norm(*arguments, epsilon).reshape(x.shape)
    y: Tensor = _Norm.apply(_module(name), epsilon, *arguments)
    return y.reshape(x.shape)


class _Norm(torch.autograd.Function):
    """One of the fast implementations."""

    @staticmethod
    def forward(ctx: Any, module: Any, epsilon: float, *arguments: Tensor) -> Tensor:
        ctx.module, ctx.epsilon = module, epsilon
        y: Tensor
        y, *of_rows = module.entangled_norm(*arguments, epsilon)
        ctx.save_for_backward(*arguments, *of_rows)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.module.gradients(gradient, *ctx.saved_tensors, ctx.epsilon)


def _module(name: str) -> Any:
    """Imported when first called for, since that of Triton imports triton."""
    return importlib.import_module(_MODULES[name])


def _check(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> None:
    if x.ndim < 3 or 0 in (len(x), x.shape[-1]):
        raise InputError(f"x must have shape [S, ..., E] with S and E at least 1, not {list(x.shape)}")
    count, size = len(x), x.shape[-1]
    wanted = {"weight": (weight, (size,)), "bias": (bias, (size,)), "mask": (mask, (count, size))}
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise InputError(f"{name} must have shape {list(shape)}, as x is {list(x.shape)}, not {list(tensor.shape)}")
        if tensor.dtype != x.dtype:
            raise InputError(f"{name} is {tensor.dtype}, but x is {x.dtype}; use {name}.to(x.dtype)")
        if tensor.device != x.device:
            raise InputError(f"{name} is on {tensor.device}, but x is on {x.device}; use {name}.to(x.device)")
