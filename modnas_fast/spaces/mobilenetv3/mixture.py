"""Samples that may be soft, through the shared weights: differentiable in their shares.

Kernels are mixed by their shares, each set in zeros to the largest one; expansions are masks on the channels inside a
block, behind the depth-wise convolution; depth is a share of what each further block adds. For one-hots this is the
network that they name, exactly. Resolutions have no such form: outputs at several of them are mixed, see `supernet`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.spaces.mobilenetv3.prefixes import Norms, beginning, ending
from modnas_fast.spaces.mobilenetv3.scales import middle_channels, squeezed_channels
from modnas_fast.spaces.mobilenetv3.shared import ElasticKernels, SharedWeights, SqueezeExcite
from modnas_fast.supernets.prefixes import prefixes


class Shares(NamedTuple):
    """What one sample takes of each option."""

    #: [J, L, kernels]
    kernels: Tensor
    #: [J, L, expansions]
    expansions: Tensor
    #: of each block, [J, L]
    present: Tensor


def mixed_logits(weights: SharedWeights, x: Tensor, shares: Shares) -> Tensor:
    """[B, classes] of images [B, C, r, r] at one resolution, normalised by the minibatch."""
    norms = Norms()
    x = beginning(weights, x, norms)
    for stage, stride in enumerate(weights.scale.strides):
        for layer in range(weights.scale.layers):
            y = _bottleneck(weights, x, stage, layer, stride if layer == 0 else 1, shares, norms)
            if layer:
                x = x + shares.present[stage, layer] * y
            else:
                x = x + y if stride == 1 and x.shape[1] == y.shape[1] else y
    return ending(weights, x, norms)


def _bottleneck(
    weights: SharedWeights, x: Tensor, stage: int, layer: int, stride: int, shares: Shares, norms: Norms
) -> Tensor:
    block, scale = weights.bottleneck(stage, layer), weights.scale
    wide, depthwise, point = block.inverted_bottleneck, block.depth_conv, block.point_linear
    widths = [middle_channels(x.shape[1], expansion) for expansion in scale.expansions]
    y = norms(F.conv2d(x, wide.weight), wide.norm, scale.activations[stage])
    taps = _mixed_kernel(depthwise.conv, shares.kernels[stage, layer], widths[-1])
    y = norms.depthwise(y, taps, stride, depthwise.norm, scale.activations[stage])
    share = shares.expansions[stage, layer]
    y = y * (share @ prefixes(widths, y))[:, None, None]
    if depthwise.excite is not None:
        inner = share @ prefixes([squeezed_channels(width) for width in widths], y)
        y = _excited(depthwise.excite, y, inner)
    return norms(F.conv2d(y, point.weight), point.norm)


def _mixed_kernel(kernels: ElasticKernels, share: Tensor, width: int) -> Tensor:
    """[width, 1, K, K]."""
    found = sorted(kernels.all(width).items())
    largest = found[-1][0]
    mixed = torch.zeros_like(found[-1][1])
    for part, (size, taps) in zip(share.unbind(), found):
        mixed = mixed + part * F.pad(taps, [(largest - size) // 2] * 4)
    return mixed


def _excited(layer: SqueezeExcite, x: Tensor, inner: Tensor) -> Tensor:
    """Squeeze-and-excite of channels that are masked already; `inner` masks those between."""
    y = F.relu(F.linear(x.mean((2, 3)), layer.reduce.weight.flatten(1), layer.reduce.bias)) * inner
    return x * F.hardsigmoid(F.linear(y, layer.expand.weight.flatten(1), layer.expand.bias))[:, :, None, None]
