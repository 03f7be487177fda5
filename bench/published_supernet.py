"""The supernet of NAS-Bench-201 the way the published code computes it, in an own rewrite: one device at a time.

NCHW, eager, one module per edge. Kernels are entangled: an edge has one 3×3 kernel, whose centre is its 1×1 kernel.
An edge runs its chosen operation alone, and adds the weights of the others to its value as GDAS does (Dong & Yang
2019): these are 0, and give every option that was not chosen the gradient Σ ∂ℓ/∂(the node's value). Zero is x · 0,
so that nothing is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.nb201.network import AVG_POOL, CONV_1X1, EDGES, NONE, NUM_NODES, OPERATIONS, SKIP


def normalized(x: Tensor) -> Tensor:
    """Batch normalisation with the statistics of the minibatch, without affine parameters."""
    return F.batch_norm(x, None, None, training=True)


class MixedEdge(nn.Module):
    """One edge: an entangled kernel and five operations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(nn.Conv2d(channels, channels, 3, bias=False).weight.detach())

    def operation(self, index: int, x: Tensor) -> Tensor:
        """The value of one operation."""
        if index == NONE:
            return x * 0.0
        if index == SKIP:
            return x
        if index == AVG_POOL:
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        if index == CONV_1X1:
            return normalized(F.conv2d(F.relu(x), self.kernel[..., 1:2, 1:2]))
        return normalized(F.conv2d(F.relu(x), self.kernel, padding=1))

    def forward(self, x: Tensor, weights: Tensor, chosen: int) -> Tensor:
        """Σ_k w_k · op_k(x) for the chosen k, and Σ w_k alone over the others; weights [5]."""
        return sum(
            weight * self.operation(index, x) if index == chosen else weight for index, weight in enumerate(weights)
        )


class PublishedCell(nn.Module):
    """Six edges between four nodes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(MixedEdge(channels) for _ in EDGES)

    def forward(self, x: Tensor, sample: Tensor, chosen: list[int]) -> Tensor:
        """[B, C, H, W] from such a state and a sample [6, 5]."""
        nodes = [x]
        for node in range(1, NUM_NODES):
            incoming = [(edge, source) for edge, (source, target) in enumerate(EDGES) if target == node]
            nodes.append(sum(self.edges[e](nodes[s], sample[e], chosen[e]) for e, s in incoming))
        return nodes[-1]


class PublishedResidual(nn.Module):
    """The residual block between stages."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, 2 * inputs, 3, stride=2, padding=1, bias=False)
        self.refine = nn.Conv2d(2 * inputs, 2 * inputs, 3, padding=1, bias=False)
        self.project = nn.Conv2d(inputs, 2 * inputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        refined = normalized(self.refine(F.relu(normalized(self.reduce(F.relu(x))))))
        return self.project(F.avg_pool2d(x, 2, 2)) + refined


class PublishedSupernet(nn.Module):
    """Called with x [B, 3, H, W], the sample [30] of one device, and y [B]; returns its cross-entropy, a scalar."""

    def __init__(self, classes: int, channels: int, cells: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        for stage in range(3):
            width = channels * 2**stage
            layers += [PublishedResidual(width // 2)] if stage else []
            layers += [PublishedCell(width) for _ in range(cells)]
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor, onehot: Tensor, y: Tensor) -> Tensor:
        sample = onehot.view(len(EDGES), len(OPERATIONS))
        chosen = sample.argmax(-1).tolist()
        x = normalized(self.stem(x))
        for layer in self.layers:
            x = layer(x, sample, chosen) if isinstance(layer, PublishedCell) else layer(x)
        return F.cross_entropy(self.classifier(F.relu(normalized(x)).mean(dim=(2, 3))), y)


def as_ours(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those weights of a `PublishedSupernet` that make our entangled `NB201Supernet` equal, differentiably; by name."""
    ours = {name: value for name, value in weights.items() if ".edges." not in name}
    for layer in dict.fromkeys(name.partition(".edges.")[0] for name in weights if ".edges." in name):
        kernels = [weights[f"{layer}.edges.{edge}.kernel"] for edge in range(len(EDGES))]
        ours[f"{layer}.kernels_3x3"] = torch.stack(kernels)
    return ours
