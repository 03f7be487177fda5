"""One network out of the shared weights: every layer with its first channels alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.spaces.mobilenetv3.network import ACTIVATIONS, EPSILON
from modnas_fast.spaces.mobilenetv3.scales import Shape, middle_channels, squeezed_channels
from modnas_fast.spaces.mobilenetv3.shared import (
    ElasticBottleneck,
    SharedNorm,
    SharedWeights,
    SqueezeExcite,
)

#: mean and variance [C] of every batch normalisation of a network, in their order
Statistics = Sequence[tuple[Tensor, Tensor]]


class Normalise(Protocol):
    """Batch normalisation and activation of x [B, C, H, W] with the first C channels of a shared one."""

    def __call__(self, x: Tensor, norm: SharedNorm, activation: str | None = None) -> Tensor: ...


def by_minibatch(x: Tensor, norm: SharedNorm, activation: str | None = None) -> Tensor:
    """With the statistics of x."""
    weight, bias = (values[: x.shape[1]] for values in (norm.weight, norm.bias))
    return ACTIVATIONS[activation](F.batch_norm(x, None, None, weight, bias, training=True, eps=EPSILON))


class Noting:
    """As `by_minibatch`, and `found` has the statistics, with the variance that normalises."""

    def __init__(self) -> None:
        self.found: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor, norm: SharedNorm, activation: str | None = None) -> Tensor:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        self.found.append((mean, variance))
        return normalised(x, norm, mean, variance, activation)


class Given:
    """With statistics that are given, for one pass."""

    def __init__(self, statistics: Statistics) -> None:
        self._left: Iterator[tuple[Tensor, Tensor]] = iter(statistics)

    def __call__(self, x: Tensor, norm: SharedNorm, activation: str | None = None) -> Tensor:
        return normalised(x, norm, *next(self._left), activation)


def normalised(x: Tensor, norm: SharedNorm, mean: Tensor, variance: Tensor, activation: str | None) -> Tensor:
    """With mean and variance [C]."""
    weight, bias = (values[: x.shape[1]] for values in (norm.weight, norm.bias))
    return ACTIVATIONS[activation](F.batch_norm(x, mean, variance, weight, bias, training=False, eps=EPSILON))


def logits(weights: SharedWeights, x: Tensor, shape: Shape, normalise: Normalise = by_minibatch) -> Tensor:
    """[B, classes] of images [B, C, r, r] in the network's resolution."""
    x = beginning(weights, x, normalise)
    for stage, (kernels, expansions) in enumerate(zip(shape.kernels, shape.expansions)):
        for layer, (kernel, expansion) in enumerate(zip(kernels, expansions)):
            x = _block(weights, x, stage, layer, kernel, expansion, normalise)
    return ending(weights, x, normalise)


def beginning(weights: SharedWeights, x: Tensor, normalise: Normalise) -> Tensor:
    """Stem and first block, which all networks share."""
    x = normalise(F.conv2d(x, weights.first_conv.weight, stride=2, padding=1), weights.first_conv.norm, "hswish")
    depthwise, point = weights.first.depth_conv, weights.first.point_linear
    y = normalise(F.conv2d(x, depthwise.weight, padding=1, groups=x.shape[1]), depthwise.norm, "relu")
    y = normalise(F.conv2d(y, point.weight), point.norm)
    return x + y if x.shape[1] == y.shape[1] else y


def ending(weights: SharedWeights, x: Tensor, normalise: Normalise) -> Tensor:
    """Last expansion, mean over the image, feature mix and classifier."""
    last = weights.final_expand_layer
    features = normalise(F.conv2d(x, last.weight), last.norm, "hswish").mean((2, 3))
    mixed = F.hardswish(F.linear(features, weights.feature_mix_layer.conv.weight.flatten(1)))
    found: Tensor = weights.classifier(mixed)
    return found


def _block(
    weights: SharedWeights, x: Tensor, stage: int, layer: int, kernel: int, expansion: int, normalise: Normalise
) -> Tensor:
    block, scale = weights.bottleneck(stage, layer), weights.scale
    stride, activation = 1 if layer else scale.strides[stage], scale.activations[stage]
    y = _middle(block, x, kernel, middle_channels(x.shape[1], expansion), stride, activation, normalise)
    y = normalise(F.conv2d(y, block.point_linear.weight[:, : y.shape[1]]), block.point_linear.norm)
    return x + y if stride == 1 and x.shape[1] == y.shape[1] else y


def _middle(
    block: ElasticBottleneck, x: Tensor, kernel: int, width: int, stride: int, activation: str, normalise: Normalise
) -> Tensor:
    """Before the projection."""
    wide, depthwise = block.inverted_bottleneck, block.depth_conv
    y = normalise(F.conv2d(x, wide.weight[:width]), wide.norm, activation)
    taps = depthwise.conv(width, kernel)
    y = normalise(F.conv2d(y, taps, stride=stride, padding=kernel // 2, groups=width), depthwise.norm, activation)
    return y if depthwise.excite is None else excited(depthwise.excite, y)


def excited(layer: SqueezeExcite, x: Tensor) -> Tensor:
    """Squeeze-and-excite of the first channels, as many as x [B, C, H, W] has."""
    width, inner = x.shape[1], squeezed_channels(x.shape[1])
    reduce, expand = layer.reduce, layer.expand
    y = F.relu(F.linear(x.mean((2, 3)), reduce.weight[:inner, :width, 0, 0], reduce.bias[:inner]))
    share = F.hardsigmoid(F.linear(y, expand.weight[:width, :inner, 0, 0], expand.bias[:width]))
    return x * share[:, :, None, None]
