"""A standalone network of the MobileNetV3 space, whole: it resizes images to its own resolution."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.mobilenetv3.scales import Scale, Shape, middle_channels, squeezed_channels

#: of batch normalisation
EPSILON = 1e-5
#: by the name of an activation; None: there is none
ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {"relu": F.relu, "hswish": F.hardswish, None: lambda x: x}


class Convolution(nn.Module):
    """Convolution, batch normalisation and activation; `se` weighs channels behind it."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        activation: str | None = None,
        depthwise: bool = False,
        excite: bool = False,
    ) -> None:
        super().__init__()
        groups = inputs if depthwise else 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, EPSILON)
        self.activation = activation
        if excite:
            self.se = SqueezeExcite(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = ACTIVATIONS[self.activation](self.bn(self.conv(x)))
        return self.se(x) if hasattr(self, "se") else x

    @torch.no_grad()
    def fold_(self) -> None:
        """Moves scale and shift of the batch normalisation, with its running statistics, into the convolution."""
        assert isinstance(self.bn, nn.BatchNorm2d)
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert mean is not None and variance is not None
        scale = self.bn.weight / (variance + self.bn.eps).sqrt()
        self.conv.weight.mul_(scale[:, None, None, None])
        self.conv.bias = nn.Parameter(self.bn.bias - mean * scale)
        self.bn = nn.Identity()


class SqueezeExcite(nn.Module):
    """Channels times what a small network makes of their means, between 0 and 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = squeezed_channels(width)
        self.fc = nn.ModuleDict({"reduce": nn.Conv2d(width, inner, 1), "expand": nn.Conv2d(inner, width, 1)})

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.fc["reduce"](x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.fc["expand"](y))


class Bottleneck(nn.Module):
    """Expansion, depth-wise convolution and projection; without the expansion where `middle` is None."""

    def __init__(
        self,
        inputs: int,
        middle: int | None,
        outputs: int,
        kernel: int,
        stride: int,
        activation: str,
        excite: bool = False,
    ) -> None:
        super().__init__()
        if middle is not None:
            self.inverted_bottleneck = Convolution(inputs, middle, activation=activation)
        mid = middle or inputs
        self.depth_conv = Convolution(mid, mid, kernel, stride, activation, depthwise=True, excite=excite)
        self.point_linear = Convolution(mid, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "inverted_bottleneck"):
            x = self.inverted_bottleneck(x)
        y: Tensor = self.point_linear(self.depth_conv(x))
        return y


class Block(nn.Module):
    """A bottleneck, added to its input where that has the same shape."""

    def __init__(self, conv: Bottleneck, residual: bool) -> None:
        super().__init__()
        self.conv, self.residual = conv, residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class FeatureMix(nn.Module):
    """A 1×1 convolution without normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.conv(x))


class Classifier(nn.Module):
    """Logits of the features."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return y


class MobileNetV3(nn.Module):
    """Images [B, C, H, W] of any size in, logits [B, classes] out.

    Images are resized to the network's own resolution in `forward`, bilinearly with corners aligned as in the published
    search; those that have it pass as they are. Weights have the published names of a single network.

    Args:
        shape: of the network.
        scale: of the space that it is from: widths, strides and activations.
        classes: number of classes.
        input_channels: of the images.
    """

    def __init__(self, shape: Shape, scale: Scale, classes: int, input_channels: int = 3) -> None:
        super().__init__()
        self.resolution = shape.resolution
        self.first_conv = Convolution(input_channels, scale.stem_channels, 3, 2, "hswish")
        self.blocks = nn.ModuleList(_blocks(shape, scale))
        self.final_expand_layer = Convolution(scale.stage_channels[-1], scale.final_channels, activation="hswish")
        self.feature_mix_layer = FeatureMix(scale.final_channels, scale.mix_channels)
        self.classifier = Classifier(scale.mix_channels, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_conv(resized(x, self.resolution))
        for block in self.blocks:
            x = block(x)
        x = self.final_expand_layer(x).mean((2, 3), keepdim=True)
        logits: Tensor = self.classifier(self.feature_mix_layer(x).flatten(1))
        return logits

    def folded(self) -> MobileNetV3:
        """A copy for inference whose batch normalisations are part of the convolutions before them."""
        network = copy.deepcopy(self).eval()
        for module in network.modules():
            if isinstance(module, Convolution):
                module.fold_()
        return network


def _blocks(shape: Shape, scale: Scale) -> Iterator[Block]:
    stem, width = scale.stem_channels, scale.first_channels
    yield Block(Bottleneck(stem, None, width, 3, 1, "relu"), residual=stem == width)
    for stage, (kernels, expansions) in enumerate(zip(shape.kernels, shape.expansions, strict=True)):
        outputs = scale.stage_channels[stage]
        for layer, (kernel, expansion) in enumerate(zip(kernels, expansions, strict=True)):
            stride, width = 1 if layer else scale.strides[stage], scale.channels_into(stage, layer)
            middle, activation = middle_channels(width, expansion), scale.activations[stage]
            conv = Bottleneck(width, middle, outputs, kernel, stride, activation, scale.squeezes[stage])
            yield Block(conv, residual=stride == 1 and width == outputs)


def resized(x: Tensor, resolution: int) -> Tensor:
    """Images [B, C, H, W] as [B, C, resolution, resolution]: bilinear, the centres of the corners stay where they are.

    >>> resized(torch.tensor([[[[0.0, 3.0], [3.0, 6.0]]]]), 4)[0, 0, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if x.shape[-2:] == (resolution, resolution):
        return x
    return F.interpolate(x, (resolution, resolution), mode="bilinear", align_corners=True)


@torch.no_grad()
def initialize(network: nn.Module) -> None:
    """Weights in place, as published: He's normal ones by outputs for convolutions, small ones for the classifier.

    Biases are 0; matrices between kernels are one.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("_matrix"):
            nn.init.eye_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 4:
            outputs = parameter.shape[0] * parameter.shape[2] * parameter.shape[3]
            groups = parameter.shape[0] if parameter.shape[1] == 1 else 1  # depth-wise
            nn.init.normal_(parameter, std=(2 / (outputs / groups)) ** 0.5)
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.01)
