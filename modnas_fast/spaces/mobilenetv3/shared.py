"""The weights that all networks of a MobileNetV3 space share, under the names of the official checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.mobilenetv3.network import Classifier, FeatureMix, initialize
from modnas_fast.spaces.mobilenetv3.scales import Scale, middle_channels, squeezed_channels
from modnas_fast.supernets.supernet import Supernet


class Weights(nn.Module):
    """Of a convolution."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))


class Affine(nn.Module):
    """Weights and biases of a 1×1 convolution."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.empty(outputs))


class SharedNorm(nn.Module):
    """Scale and shift of a batch normalisation; its statistics are those of the largest network, and not used."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))


class Wrapped(nn.Module):
    """One module more around a module: the published classes of elastic layers have so many."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)


class FixedConvolution(nn.Module):
    """A convolution with its normalisation, whole in every network."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.conv, self.bn = Weights(*shape), SharedNorm(shape[0])

    @property
    def weight(self) -> Tensor:
        """[outputs, inputs or 1, k, k]."""
        return self.conv.weight

    @property
    def norm(self) -> SharedNorm:
        """Behind it."""
        return self.bn


class ElasticPoint(nn.Module):
    """A 1×1 convolution with its normalisation: networks use its first inputs and outputs."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.conv = Wrapped("conv", Weights(outputs, inputs, 1, 1))
        self.bn = Wrapped("bn", SharedNorm(outputs))

    @property
    def weight(self) -> Tensor:
        """[outputs, inputs, 1, 1]."""
        return self.get_parameter("conv.conv.weight")

    @property
    def norm(self) -> SharedNorm:
        """Behind it."""
        return self.bn.bn  # type: ignore[return-value]


class ElasticKernels(nn.Module):
    """Depth-wise kernels: smaller ones are what matrices, the same for all channels, make of larger ones' centres."""

    def __init__(self, width: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self._kernels = tuple(kernels)
        self.conv = Weights(width, 1, kernels[-1], kernels[-1])
        for small, large in pairwise(kernels):
            self.register_parameter(f"{large}to{small}_matrix", nn.Parameter(torch.empty(small**2, small**2)))

    def forward(self, width: int, kernel: int) -> Tensor:
        """[width, 1, kernel, kernel], for the first channels."""
        return self.all(width)[kernel] if kernel < self._kernels[-1] else self.conv.weight[:width]

    def all(self, width: int) -> dict[int, Tensor]:
        """By their sides, for the first channels."""
        weight = self.conv.weight[:width]
        found = {self._kernels[-1]: weight}
        for small, large in reversed(list(pairwise(self._kernels))):
            weight = smaller_kernel(weight, self.matrix(large, small))
            found[small] = weight
        return found

    def matrix(self, large: int, small: int) -> Tensor:
        """[small², small²]: from the centre of kernels to smaller kernels."""
        return self.get_parameter(f"{large}to{small}_matrix")


def smaller_kernel(weight: Tensor, matrix: Tensor) -> Tensor:
    """Kernels [M, 1, k, k] of larger ones [M, 1, K, K]: their centres, as rows of taps y = matrix · x.

    >>> smaller_kernel(torch.arange(9.0).view(1, 1, 3, 3), torch.tensor([[2.0]])).item()
    8.0
    """
    small = round(matrix.shape[0] ** 0.5)
    border = (weight.shape[-1] - small) // 2
    centre = weight[..., border : border + small, border : border + small]
    return F.linear(centre.flatten(1), matrix).view(-1, 1, small, small)


class ElasticDepthwise(nn.Module):
    """A depth-wise convolution of the first channels with its normalisation, and squeeze-and-excite behind it."""

    def __init__(self, width: int, kernels: Sequence[int], squeeze: bool) -> None:
        super().__init__()
        self.conv = ElasticKernels(width, kernels)
        self.bn = Wrapped("bn", SharedNorm(width))
        if squeeze:
            self.se = Wrapped("fc", SqueezeExcite(width))

    @property
    def norm(self) -> SharedNorm:
        """Behind it."""
        return self.bn.bn  # type: ignore[return-value]

    @property
    def excite(self) -> SqueezeExcite | None:
        """Of all channels."""
        return self.se.fc if hasattr(self, "se") else None  # type: ignore[return-value]


class SqueezeExcite(nn.Module):
    """Weights of squeeze-and-excite."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = squeezed_channels(width)
        self.reduce, self.expand = Affine(inner, width), Affine(width, inner)


class FirstBottleneck(nn.Module):
    """Of the block behind the stem."""

    def __init__(self, stem: int, outputs: int) -> None:
        super().__init__()
        self.depth_conv, self.point_linear = FixedConvolution(stem, 1, 3, 3), FixedConvolution(outputs, stem, 1, 1)


class ElasticBottleneck(nn.Module):
    """Of a block with its widest expansion."""

    def __init__(self, inputs: int, outputs: int, scale: Scale, squeeze: bool) -> None:
        super().__init__()
        middle = middle_channels(inputs, scale.expansions[-1])
        self.inverted_bottleneck = ElasticPoint(middle, inputs)
        self.depth_conv = ElasticDepthwise(middle, scale.kernels, squeeze)
        self.point_linear = ElasticPoint(outputs, middle)


class SharedWeights(Supernet):
    """All of them, without what computes; `blocks` are the first one and those of the stages, each as deep as can be.

    Args:
        scale: of the space.
        classes: number of classes.
        input_channels: of the images.
    """

    def __init__(self, scale: Scale, classes: int, input_channels: int) -> None:
        super().__init__()
        self.first_conv = FixedConvolution(scale.stem_channels, input_channels, 3, 3)
        self.blocks = nn.ModuleList(Wrapped("conv", bottleneck) for bottleneck in _bottlenecks(scale))
        self.final_expand_layer = FixedConvolution(scale.final_channels, scale.stage_channels[-1], 1, 1)
        self.feature_mix_layer = FeatureMix(scale.final_channels, scale.mix_channels)
        self.classifier = Classifier(scale.mix_channels, classes)
        self.scale = scale
        initialize(self)

    @property
    def first(self) -> FirstBottleneck:
        """Of the first block."""
        return self.blocks[0].conv  # type: ignore[return-value]

    def bottleneck(self, stage: int, layer: int) -> ElasticBottleneck:
        """Of a block of a stage."""
        return self.blocks[1 + stage * self.scale.layers + layer].conv  # type: ignore[return-value]


def _bottlenecks(scale: Scale) -> Iterator[nn.Module]:
    yield FirstBottleneck(scale.stem_channels, scale.first_channels)
    for stage, outputs in enumerate(scale.stage_channels):
        for layer in range(scale.layers):
            yield ElasticBottleneck(scale.channels_into(stage, layer), outputs, scale, scale.squeezes[stage])
