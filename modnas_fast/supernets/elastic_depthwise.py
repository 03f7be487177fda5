"""A depth-wise convolution of elastic width and kernel, with its batch normalisation and activation.

Once-for-All (Cai et al. 2020): a network uses the first m channels of shared 7x7 kernels, whole, or their centres
through learned matrices, which all channels share.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets import elastic_depthwise_reference as reference
from modnas_fast.supernets.norm_activation import Block, Statistics, check_input, first_of, load, norm_of, serving

KERNELS = (3, 5, 7)
STRIDES = (1, 2)


def elastic_depthwise(
    x: Tensor,
    weight: Tensor,
    to5: Tensor | None,
    to3: Tensor | None,
    kernel: int,
    stride: int,
    scale: Tensor,
    shift: Tensor,
    activation: str | None,
    eps: float = 1e-5,
    statistics: Statistics | None = None,
    *,
    observe: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """y = f(norm(x * taps)) of one network, per channel: [B, m, H', W'] in the dtype of x, H' = ⌈H / stride⌉.

    Args:
        x: [B, m, H, W]; fastest in channels_last, on the CPU in float32 or float64.
        weight: [M, 1, K, K], K = 7 (or 5 or 3, where no larger kernel is asked for), of which the first m count.
        to5, to3: as `kernel_taps`.
        kernel: 3, 5 or 7, at most K.
        stride: 1 or 2; with zeros around x, kernel // 2 of them.
        scale, shift, activation, eps, statistics, observe: as `norm_activation`.

    Differentiable once in x, weight, to5, to3, scale and shift where a fast implementation serves.

    Raises InputError where shapes, formats or devices do not fit.

    >>> import torch
    >>> x, weight, one = torch.ones(2, 1, 2, 2), torch.ones(1, 1, 3, 3), torch.ones(1)
    >>> statistics = torch.zeros(1), one
    >>> elastic_depthwise(x, weight, None, None, 3, 2, one, one, None, 0.0, statistics).flatten().tolist()
    [5.0, 5.0]
    """
    check_input(x)
    if stride not in STRIDES:
        raise InputError(f"stride must be 1 or 2, not {stride!r}")
    taps = kernel_taps(first_of("weight", weight, x), to5, to3, kernel)
    count = len(x) * -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
    scale, shift, statistics = norm_of(x, count, scale, shift, activation, statistics)
    name = serving("elastic_depthwise", x, taps, scale, shift)
    if name == "reference":
        y, *seen = reference.elastic_depthwise(x, taps, stride, scale, shift, activation, eps, statistics)
    else:
        seen = []
        y = Block.apply(load(name), seen, x, taps, stride, scale, shift, activation, eps, statistics, None)
    if observe is not None:
        observe(*(tensor.detach() for tensor in seen))
    return y


def kernel_taps(weight: Tensor, to5: Tensor | None, to3: Tensor | None, kernel: int) -> Tensor:
    """The taps [m, kernel, kernel] of shared kernels [m, 1, K, K].

    Args:
        weight: [m, 1, K, K].
        to5: M5 [25, 25]: 5x5 taps are M5 times the centre 5x5 of 7x7 ones, row by row; None: the centre as it is.
        to3: M3 [9, 9]: 3x3 taps are M3 times the centre 3x3 of the 5x5 taps; None: the centre as it is.
        kernel: 3, 5 or 7, at most K.

    Raises InputError where they do not fit.

    >>> import torch
    >>> kernel_taps(torch.arange(25.0).reshape(1, 1, 5, 5), None, 2 * torch.eye(9), 3)[0, 0].tolist()
    [12.0, 14.0, 16.0]
    """
    size = weight.shape[-1]
    if weight.ndim != 4 or weight.shape[1:] != (1, size, size) or size not in KERNELS:
        raise InputError(f"weight must have shape [M, 1, K, K] with K = 3, 5 or 7, not {list(weight.shape)}")
    if kernel not in KERNELS or kernel > size:
        raise InputError(f"kernel must be {', '.join(str(k) for k in KERNELS if k <= size)}, not {kernel!r}")
    taps = weight[:, 0]
    for name, matrix, smaller in (("to5", to5, 5), ("to3", to3, 3)):
        if kernel <= smaller < taps.shape[-1]:
            taps = taps[:, 1:-1, 1:-1]
            if matrix is None:
                continue
            if matrix.shape != (smaller**2, smaller**2):
                raise InputError(f"{name} must have shape [{smaller**2}, {smaller**2}], not {list(matrix.shape)}")
            taps = F.linear(taps.flatten(1), matrix).unflatten(1, (smaller, smaller))
    return taps
