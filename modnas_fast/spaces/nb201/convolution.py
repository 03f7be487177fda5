"""Convolutions of shared layers on a GPU: float32 is float32, and the same again.

cuDNN rounds the factors of float32 products to TF32 (10 bits of fraction) unless torch is told otherwise, forwards and
backwards, and may add up a kernel's gradient by atomics, in any order. Torch's own switch for matrix products holds
here for convolutions too: `torch.set_float32_matmul_precision("high")` allows TF32 in both; its default, "highest",
in neither. Other formats are not touched by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def conv2d(x: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """[B, C out, H', W'] of x [B, C in, H, W] and a kernel [C out, C in, k, k], without bias."""
    if x.device.type == "cpu":
        return F.conv2d(x, kernel, None, stride, padding)
    return _Convolution.apply(x, kernel, stride, padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        with as_written():
            return F.conv2d(x, kernel, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        wanted = (*ctx.needs_input_grad[:2], False)
        numbers = [ctx.stride] * 2, [ctx.padding] * 2, [1, 1], False, [0, 0], 1, wanted
        with as_written():
            of_x, of_kernel, _ = torch.ops.aten.convolution_backward(gradient, x, kernel, None, *numbers)
        return of_x, of_kernel, None, None


def tf32_allowed() -> bool:
    """Whether torch was told that float32 matrix products may be made in TF32; by default not.

    >>> tf32_allowed()
    False
    """
    matmul = torch.backends.cuda.matmul
    precision = getattr(matmul, "fp32_precision", None)  # from torch 2.9 on; there allow_tf32 may refuse to answer
    return bool(matmul.allow_tf32) if precision is None else precision == "tf32"


@contextmanager
def as_written() -> Iterator[None]:
    """Within it cuDNN computes float32 in float32, unless `tf32_allowed`, and by deterministic algorithms alone."""
    cudnn: Any = torch.backends.cudnn
    scope, name, value = cudnn, "allow_tf32", tf32_allowed()  # type: Any, str, Any
    if hasattr(getattr(cudnn, "conv", None), "fp32_precision"):
        scope, name, value = cudnn.conv, "fp32_precision", "tf32" if value else "ieee"
    before = getattr(scope, name), cudnn.deterministic
    try:
        setattr(scope, name, value)
        cudnn.deterministic = True
        yield
    finally:
        setattr(scope, name, before[0])
        cudnn.deterministic = before[1]
