"""One cell of NAS-Bench-201 for T devices as its formula: batched PyTorch, differentiated by autograd."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.spaces.nb201.convolution import conv2d
from modnas_fast.spaces.nb201.network import AVG_POOL, CONV_1X1, CONV_3X3, EDGES, NONE, NUM_NODES, SKIP
from modnas_fast.supernets.batch_statistics import shared_statistics, whole_batch_norm


def mixed_cell(x: Tensor, kernels_1x1: Tensor, kernels_3x3: Tensor, sample: Tensor, active: Tensor) -> Tensor:
    """node_3 as [T, B, C, H, W]; arguments and formula as in `modnas_fast.spaces.nb201.mixed_cell`.

    Weighted sums are in float32 or, for float64, in float64, and each node is rounded once to the dtype of x.
    """
    sample = sample.to(torch.promote_types(x.dtype, torch.float32))
    nodes = [x]
    for node in range(1, NUM_NODES):
        total = torch.zeros((), dtype=sample.dtype, device=x.device)
        for edge, (source, target) in enumerate(EDGES):
            if target == node:
                kernels = kernels_1x1[edge].to(x.dtype), kernels_3x3[edge].to(x.dtype)
                total = total + _mixed_edge(nodes[source], *kernels, sample[:, edge], active[:, edge])
        nodes.append(total.to(x.dtype))
    return nodes[-1]


def _mixed_edge(node: Tensor, kernel_1x1: Tensor, kernel_3x3: Tensor, sample: Tensor, active: Tensor) -> Tensor:
    """Σ_k (active ? sample · op_k(node) : sample): [T, B, C, H, W] of a node [S, B, C, H, W], sample [T, 5]."""
    images, relu = node.flatten(0, 1), F.relu(node.flatten(0, 1))
    values = {
        NONE: torch.zeros_like(node),
        SKIP: node,
        CONV_1X1: _batch_norm(conv2d(relu, kernel_1x1[:, :, None, None]).view_as(node)),
        CONV_3X3: _batch_norm(conv2d(relu, kernel_3x3, padding=1).view_as(node)),
        AVG_POOL: F.avg_pool2d(images, 3, 1, 1, count_include_pad=False).view_as(node),
    }
    weights, active = sample[..., None, None, None, None], active[..., None, None, None, None]
    terms = (torch.where(active[:, k], weights[:, k] * value, weights[:, k]) for k, value in values.items())
    return sum(terms, weights.new_zeros(()))


def _batch_norm(y: Tensor) -> Tensor:
    """[S, B, C, H, W] normalised with the statistics of each state's own B images, in float32 or wider.

    In plain terms, since the library's (torch 2.13, CPU) has wrong gradients for one image of some memory layouts.
    """
    if shared_statistics():
        return whole_batch_norm(y.flatten(0, 1), len(y)).view_as(y)
    wide = y.to(torch.promote_types(y.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, (1, 3, 4), correction=0, keepdim=True)
    return ((wide - mean) * (variance + 1e-5).rsqrt()).to(y.dtype)
