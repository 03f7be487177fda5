"""A standalone network of NAS-Bench-201: what is trained from scratch, measured and deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_NODES = 4
#: (source, target) of each edge in the order of the canonical string
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV_1X1, CONV_3X3, AVG_POOL = range(5)
ReductionKind = Literal["residual", "pool"]
KERNEL_SIZES = {CONV_1X1: 1, CONV_3X3: 3}


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution without bias, batch normalisation: `nor_conv_kxk` of the benchmark."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False)
        super().__init__(nn.ReLU(), convolution, nn.BatchNorm2d(outputs))


class ResidualReduction(nn.Module):
    """The residual block between stages: halves the resolution, doubles the channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ReLUConvBN(inputs, 2 * inputs, 3, stride=2), ReLUConvBN(2 * inputs, 2 * inputs, 3))
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True)
        self.project = nn.Conv2d(inputs, 2 * inputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.pool(x)) + self.body(x)


class PoolReduction(nn.Sequential):
    """The light reduction: 2×2 average, 1×1 convolution to twice the channels, batch normalisation.

    It leaves all spatial features to the cells. Between single cells the residual block would dominate both
    accuracy and latency.
    """

    def __init__(self, inputs: int) -> None:
        project = nn.Conv2d(inputs, 2 * inputs, 1, bias=False)
        super().__init__(nn.AvgPool2d(2, 2, ceil_mode=True), project, nn.BatchNorm2d(2 * inputs))


class Cell(nn.Module):
    """The cell with one fixed operation per edge; edges set to `none` do not exist."""

    def __init__(self, indices: Sequence[int], channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleDict()
        for (source, target), index in zip(EDGES, indices):
            if index != NONE:
                self.operations[f"{source}_{target}"] = self._operation(index, channels)

    @staticmethod
    def _operation(index: int, channels: int) -> nn.Module:
        if index == SKIP:
            return nn.Identity()
        if index == AVG_POOL:
            return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        return ReLUConvBN(channels, channels, KERNEL_SIZES[index])

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [x] + [None] * (NUM_NODES - 1)
        for name, operation in self.operations.items():
            source, target = int(name[0]), int(name[2])
            value = operation(nodes[source])
            nodes[target] = value if nodes[target] is None else nodes[target] + value
        return torch.zeros_like(x) if nodes[-1] is None else nodes[-1]


REDUCTIONS: dict[str, type[nn.Module]] = {"residual": ResidualReduction, "pool": PoolReduction}


class NB201Network(nn.Module):
    """Stem, three stages of `cells` cells with residual reductions between them, classifier.

    Args:
        indices: option index per edge, with edges that lead nowhere set to `none`.
        image_channels: channels of the input images.
        classes: number of classes.
        channels: C, channels of the first stage (16 in the benchmark); doubled at each reduction.
        cells: N, cells per stage (5 in the benchmark).
        reduction: what halves the resolution between stages: `residual` as in the benchmark, or `pool`.

    Called with images [B, image_channels, H, W], returns logits [B, classes].
    """

    def __init__(
        self,
        indices: Sequence[int],
        image_channels: int,
        classes: int,
        channels: int,
        cells: int,
        reduction: ReductionKind = "residual",
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(image_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        layers: list[nn.Module] = []
        for stage in range(3):
            width = channels * 2**stage
            layers += [REDUCTIONS[reduction](width // 2)] if stage else []
            layers += [Cell(indices, width) for _ in range(cells)]
        self.layers = nn.Sequential(*layers)
        self.final_norm = nn.BatchNorm2d(4 * channels)
        self.classifier = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.final_norm(self.layers(self.stem(x))))
        return self.classifier(x.mean(dim=(2, 3)))
