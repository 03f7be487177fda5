"""One network out of the shared weights: every layer with its first channels alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from modnas_fast.spaces.mobilenetv3.network import EPSILON
from modnas_fast.spaces.mobilenetv3.scales import Shape, middle_channels, squeezed_channels
from modnas_fast.spaces.mobilenetv3.shared import ElasticBottleneck, SharedNorm, SharedWeights, SqueezeExcite
from modnas_fast.supernets.elastic_depthwise import KERNELS, elastic_depthwise
from modnas_fast.supernets.norm_activation import norm_activation

#: mean and variance [C] of every batch normalisation of a network, in their order
Statistics = Sequence[tuple[Tensor, Tensor]]


class Norms:
    """The batch normalisations of one pass: by the minibatch, unless statistics are given; `seen` has what they took.

    Args:
        given: statistics of the network.
    """

    def __init__(self, given: Statistics | None = None) -> None:
        self._given = None if given is None else iter(given)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(
        self, x: Tensor, norm: SharedNorm, activation: str | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """x [B, C, H, W] by the first C channels of a shared normalisation, with activation, plus the residual."""
        return norm_activation(
            x, norm.weight, norm.bias, activation, EPSILON, self._next(), residual=residual, observe=self._see
        )

    def depthwise(self, x: Tensor, taps: Tensor, stride: int, norm: SharedNorm, activation: str) -> Tensor:
        """The same behind a depth-wise convolution with taps [C, 1, k, k]."""
        kernel = taps.shape[-1]
        if kernel not in KERNELS:
            return self(F.conv2d(x, taps, None, stride, kernel // 2, groups=len(taps)), norm, activation)
        return elastic_depthwise(
            x, taps, None, None, kernel, stride, norm.weight, norm.bias, activation, EPSILON, self._next(),
            observe=self._see,
        )  # fmt: skip

    def _next(self) -> tuple[Tensor, Tensor] | None:
        return None if self._given is None else next(self._given)

    def _see(self, mean: Tensor, variance: Tensor) -> None:
        self.seen.append((mean, variance))


def logits(weights: SharedWeights, x: Tensor, shape: Shape, norms: Norms) -> Tensor:
    """[B, classes] of images [B, C, r, r] in the network's resolution."""
    x = beginning(weights, x, norms)
    for stage, (kernels, expansions) in enumerate(zip(shape.kernels, shape.expansions)):
        for layer, (kernel, expansion) in enumerate(zip(kernels, expansions)):
            x = _block(weights, x, stage, layer, kernel, expansion, norms)
    return ending(weights, x, norms)


def beginning(weights: SharedWeights, x: Tensor, norms: Norms) -> Tensor:
    """Stem and first block, which all networks share."""
    x = norms(F.conv2d(x, weights.first_conv.weight, stride=2, padding=1), weights.first_conv.norm, "hswish")
    depthwise, point = weights.first.depth_conv, weights.first.point_linear
    y = norms.depthwise(x, depthwise.weight, 1, depthwise.norm, "relu")
    return norms(F.conv2d(y, point.weight), point.norm, residual=x if len(point.weight) == x.shape[1] else None)


def ending(weights: SharedWeights, x: Tensor, norms: Norms) -> Tensor:
    """Last expansion, mean over the image, feature mix and classifier."""
    last = weights.final_expand_layer
    features = norms(F.conv2d(x, last.weight), last.norm, "hswish").mean((2, 3))
    mixed = F.hardswish(F.linear(features, weights.feature_mix_layer.conv.weight.flatten(1)))
    found: Tensor = weights.classifier(mixed)
    return found


def _block(
    weights: SharedWeights, x: Tensor, stage: int, layer: int, kernel: int, expansion: int, norms: Norms
) -> Tensor:
    block, scale = weights.bottleneck(stage, layer), weights.scale
    stride, activation = 1 if layer else scale.strides[stage], scale.activations[stage]
    y = _middle(block, x, kernel, middle_channels(x.shape[1], expansion), stride, activation, norms)
    y = F.conv2d(y, block.point_linear.weight[:, : y.shape[1]])
    return norms(y, block.point_linear.norm, residual=x if stride == 1 and x.shape[1] == y.shape[1] else None)


def _middle(
    block: ElasticBottleneck, x: Tensor, kernel: int, width: int, stride: int, activation: str, norms: Norms
) -> Tensor:
    """Before the projection."""
    wide, depthwise = block.inverted_bottleneck, block.depth_conv
    y = norms(F.conv2d(x, wide.weight[:width]), wide.norm, activation)
    y = norms.depthwise(y, depthwise.conv(width, kernel), stride, depthwise.norm, activation)
    return y if depthwise.excite is None else excited(depthwise.excite, y)


def excited(layer: SqueezeExcite, x: Tensor) -> Tensor:
    """Squeeze-and-excite of the first channels, as many as x [B, C, H, W] has."""
    width, inner = x.shape[1], squeezed_channels(x.shape[1])
    reduce, expand = layer.reduce, layer.expand
    y = F.relu(F.linear(x.mean((2, 3)), reduce.weight[:inner, :width, 0, 0], reduce.bias[:inner]))
    share = F.hardsigmoid(F.linear(y, expand.weight[:width, :inner, 0, 0], expand.bias[:width]))
    return x * share[:, :, None, None]
