"""One cell of NAS-Bench-201 for T devices in one call: the mixture of operations on each of its six edges."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from modnas_fast.runtime import implementations
from modnas_fast.spaces.nb201 import mixed_cell_composed, mixed_cell_reference
from modnas_fast.spaces.nb201.network import EDGES, OPERATIONS
from modnas_fast.supernets.batch_statistics import shared_statistics

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def mixed_cell(
    x: Tensor,
    kernels_1x1: Tensor,
    kernels_3x3: Tensor,
    sample: Tensor,
    active: Tensor,
    *,
    recompute: bool = False,
    single_path: bool = False,
) -> Tensor:
    """The cell's output node of each device, [T, B, C, H, W], differentiable by x, both kernels and sample.

    node_0[t] = x[t], node_j[t] = Σ over edges e = (i, j), Σ over operations k of sample[t, e, k] · op_k(node_i[t]),
    or of sample[t, e, k] alone where active[t, e, k] is false. The operations, in the order of `OPERATIONS`: zeros,
    identity, two times batch_norm(conv(relu)), and the 3×3 average without padding in the count. Batch normalisation
    uses each device's own minibatch: biased variance, eps 1e-5, no affine parameters.

    With all operations active this is the weighted mixture with exact gradients. With one per edge and device it is
    the single path of MODNAS and GDAS, whose published code gives the sample of an operation that was not computed
    the plain sum of the node's gradient.

    Args:
        x: [S, B, C, H, W] with S = T, or S = 1 where all devices share the input; float64, float32, float16 or
            bfloat16. Images that lie in memory as channels_last are read where they are, others are copied.
        kernels_1x1: [6, C, C], output by input channels, one per edge in the order of `EDGES`; any floating-point
            format, rounded to that of x here.
        kernels_3x3: [6, C, C, 3, 3], likewise.
        sample: [T, 6, 5], the weight of each operation; any floating-point format; 0 where not active.
        active: bool [T, 6, 5], which operations are computed.
        recompute: save only the arguments for the backward pass, which then computes everything once more.
        single_path: a promise that of each edge and device at most one operation is active. It halves what is saved;
            the result is undefined where it does not hold.

    Returns:
        [T, B, C, H, W] in the dtype of x, as a channels_last view of contiguous [T, B, H, W, C].

    Raises:
        TypeError: wrong dtypes.
        ValueError: shapes or devices that do not fit, or B·H·W outside of 2 to 2^30.

    >>> x = torch.arange(4.0).view(1, 1, 1, 2, 2)
    >>> sample = torch.zeros(2, 6, 5)
    >>> sample[:, 3, 1] = torch.tensor([1.0, 3.0])  # skip_connect from the input to the output
    >>> mixed_cell(x, torch.ones(6, 1, 1), torch.ones(6, 1, 1, 3, 3), sample, sample > 0).flatten(1)
    tensor([[0., 1., 2., 3.], [0., 3., 6., 9.]])
    """
    _check(x, kernels_1x1, kernels_3x3, sample, active)
    inputs = x, kernels_1x1, kernels_3x3, sample, active
    chosen = implementation(x.device.type)
    if chosen == "triton":
        kernels = importlib.import_module("modnas_fast.kernels.mixed_cell")
        return kernels.mixed_cell(*inputs, recompute=recompute, single_path=single_path)
    cell = {"composed": mixed_cell_composed, "reference": mixed_cell_reference}[chosen].mixed_cell
    out = checkpoint(cell, *inputs, use_reentrant=False, preserve_rng_state=False) if recompute else cell(*inputs)
    return out.movedim(2, -1).contiguous().movedim(-1, 2)


def implementation(kind: str) -> str:
    """Name of what computes cells on a kind of device.

    The kernels take statistics of their own images; of those that ranks divide among them, the reference does.
    """
    chosen = implementations.chosen("mixed_cell", kind).name
    return "reference" if chosen == "triton" and shared_statistics() else chosen


def _check(x: Tensor, kernels_1x1: Tensor, kernels_3x3: Tensor, sample: Tensor, active: Tensor) -> None:
    if x.dtype not in _DTYPES:
        raise TypeError(f"x must be float64, float32, float16 or bfloat16, not {x.dtype}")
    for name, tensor in (("kernels_1x1", kernels_1x1), ("kernels_3x3", kernels_3x3), ("sample", sample)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be of a floating-point format, not {tensor.dtype}")
    if active.dtype != torch.bool:
        raise TypeError(f"active must be bool, not {active.dtype}")
    if x.ndim != 5 or sample.ndim != 3:
        raise ValueError(
            f"x must be [S, B, C, H, W] and sample [T, 6, 5], not {list(x.shape)} and {list(sample.shape)}"
        )
    states, batch, channels, height, width = x.shape
    devices = len(sample)
    expected = {
        "sample": (sample, [devices, len(EDGES), len(OPERATIONS)]),
        "active": (active, [devices, len(EDGES), len(OPERATIONS)]),
        "kernels_1x1": (kernels_1x1, [len(EDGES), channels, channels]),
        "kernels_3x3": (kernels_3x3, [len(EDGES), channels, channels, 3, 3]),
    }
    for name, (tensor, shape) in expected.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape} beside x {list(x.shape)}, not {list(tensor.shape)}")
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}")
    if devices == 0 or channels == 0 or states not in (1, devices):
        raise ValueError(f"x {list(x.shape)} must have 1 or T = {devices} states, T > 0, and channels")
    if not 2 <= batch * height * width <= 2**30:
        raise ValueError(f"x {list(x.shape)}: B·H·W must be from 2, for batch normalisation, to 2^30")
