"""The one-shot network of NAS-Bench-201's space: shared weights, T architectures on one minibatch.

Two ways through the same weights, equal in value:

- *single path*, for hard one-hots when no gradient reaches the architecture (weight step, evaluation): each
  operation runs once per distinct input, so that devices share every prefix in which they agree;
- *mixture*, when a gradient with respect to the sample is wanted or the sample is soft: every operation of an edge
  runs for all devices in one call, weighted by the sample. The gradient is exact for options not chosen too (the
  published code gives all options not chosen the same one).

Batch normalisation always uses the statistics of the minibatch, one set per device, without affine parameters,
as in the cells of the published search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.nb201 import NB201Space
from modnas_fast.spaces.nb201_network import (
    AVG_POOL,
    EDGES,
    KERNEL_SIZES,
    NONE,
    NUM_NODES,
    OPERATIONS,
    SKIP,
    Cell,
    NB201Network,
    PoolReduction,
    ReductionKind,
    ResidualReduction,
)


def batch_norm(x: Tensor, devices: int = 1) -> Tensor:
    """Batch normalisation of [devices·B, C, H, W] with the statistics of each device's own B rows.

    One library call per device: on the CPU about twice as fast as one call over a transposed copy.
    """
    parts = [F.batch_norm(part, None, None, training=True) for part in x.chunk(devices)]
    return parts[0] if devices == 1 else torch.cat(parts)


def average_pool(x: Tensor) -> Tensor:
    """3×3 average without padding in the count, as a depthwise convolution (3 to 4 times faster on the CPU)."""
    ones, inverse_count = _pool_constants(*x.shape[-3:], x.dtype, x.device)
    return F.conv2d(x, ones, padding=1, groups=len(ones)) * inverse_count


@lru_cache(maxsize=64)
def _pool_constants(
    channels: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The kernel [channels, 1, 3, 3], and [height, width]: one over the number of pixels under a 3×3 window."""
    ones = torch.ones(channels, 1, 3, 3, dtype=dtype, device=device)
    plane = torch.ones(1, 1, height, width, dtype=dtype, device=device)
    return ones, 1 / F.conv2d(plane, ones[:1], padding=1)[0, 0]


class _Memo:
    """Runs a function once per distinct tuple of input tensors (told apart by identity) and key."""

    def __init__(self) -> None:
        self._values: dict[tuple, tuple[Tensor, tuple[Tensor, ...]]] = {}

    def __call__(self, key: object, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        full_key = (key, *(id(x) for x in inputs))
        if full_key not in self._values:
            self._values[full_key] = function(*inputs), inputs  # keeps the inputs, and so their ids, alive
        return self._values[full_key][0]


class _SharedCell(nn.Module):
    """Weights of every operation on every edge of one cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict(
            {
                f"{source}_{target}_{OPERATIONS[op]}": nn.Conv2d(
                    channels, channels, size, padding=size // 2, bias=False
                )
                for source, target in EDGES
                for op, size in KERNEL_SIZES.items()
            }
        )

    def convolution(self, edge: int, operation: int) -> nn.Conv2d:
        """The convolution that serves `operation` on `edge`."""
        source, target = EDGES[edge]
        return self.convolutions[f"{source}_{target}_{OPERATIONS[operation]}"]

    def mixture(self, x: Tensor, sample: Tensor) -> Tensor:
        """The cell of T devices, [T, B, C, H, W]; x [S, B, C, H, W] with S = T or 1 (shared), sample [T, 6, 5]."""
        nodes, relus = [x], [F.relu(x)]
        for node in range(1, NUM_NODES):
            incoming = [(edge, source) for edge, (source, target) in enumerate(EDGES) if target == node]
            total = sum(self._mixed_edge(e, nodes[s], relus[s], sample[:, e]) for e, s in incoming)
            nodes.append(total)
            if node < NUM_NODES - 1:
                relus.append(F.relu(total))
        return nodes[-1]

    def _mixed_edge(self, edge: int, x: Tensor, relu: Tensor, weights: Tensor) -> Tensor:
        """Σ_k weights[:, k]·op_k(x): [T, B, C, H, W]."""
        states = len(x)
        convolved = [
            batch_norm(self.convolution(edge, op)(relu.flatten(0, 1)), states).view(x.shape) for op in KERNEL_SIZES
        ]
        values = torch.stack([x, *convolved, average_pool(x.flatten(0, 1)).view(x.shape)], dim=1).flatten(2)
        mixed = torch.matmul(weights[:, None, NONE + 1 :], values)  # [T, 1, 4] · [S, 4, BCHW]
        return mixed.view(len(weights), *x.shape[1:])

    def single_path(self, x: Tensor, choice: Sequence[int], memo: _Memo) -> Tensor:
        """The cell of one device, [B, C, H, W], with everything that `memo` holds reused."""
        nodes: list[Tensor | None] = [x] + [None] * (NUM_NODES - 1)
        for node in range(1, NUM_NODES):
            terms = [
                self._chosen_edge(edge, choice[edge], nodes[source], memo)
                for edge, (source, target) in enumerate(EDGES)
                if target == node and choice[edge] != NONE
            ]
            if terms:
                nodes[node] = memo("sum", lambda *values: sum(values[1:], start=values[0]), *terms)
        return memo("zeros", torch.zeros_like, x) if nodes[-1] is None else nodes[-1]

    def _chosen_edge(self, edge: int, operation: int, x: Tensor, memo: _Memo) -> Tensor:
        if operation == SKIP:
            return x
        if operation == AVG_POOL:
            return memo("pool", average_pool, x)
        convolution = self.convolution(edge, operation)
        return memo((edge, operation), lambda relu: batch_norm(convolution(relu)), memo("relu", F.relu, x))


class _SharedResidual(nn.Module):
    """The residual block between stages; the same for every architecture."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, 2 * inputs, 3, stride=2, padding=1, bias=False)
        self.refine = nn.Conv2d(2 * inputs, 2 * inputs, 3, padding=1, bias=False)
        self.project = nn.Conv2d(inputs, 2 * inputs, 1, bias=False)

    def forward(self, x: Tensor, devices: int = 1) -> Tensor:
        """[devices·B, 2C, H/2, W/2] from [devices·B, C, H, W]."""
        reduced = batch_norm(self.reduce(F.relu(x)), devices)
        refined = batch_norm(self.refine(F.relu(reduced)), devices)
        return self.project(F.avg_pool2d(x, 2, 2, ceil_mode=True)) + refined


class _SharedPool(nn.Module):
    """The light reduction between stages; the same for every architecture."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(inputs, 2 * inputs, 1, bias=False)

    def forward(self, x: Tensor, devices: int = 1) -> Tensor:
        """[devices·B, 2C, H/2, W/2] from [devices·B, C, H, W]."""
        return batch_norm(self.project(F.avg_pool2d(x, 2, 2, ceil_mode=True)), devices)


_REDUCTIONS: dict[str, type[nn.Module]] = {"residual": _SharedResidual, "pool": _SharedPool}


class NB201Supernet(nn.Module):
    """Shared weights w of all 15,625 networks.

    Args:
        image_channels: channels of the input images.
        classes: number of classes.
        channels: C, channels of the first stage (16 in the paper); doubled at each reduction.
        cells: N, cells per stage (5 in the paper).
        reduction: `residual` as in the paper, or `pool`.
    """

    def __init__(
        self,
        image_channels: int,
        classes: int,
        channels: int,
        cells: int,
        reduction: ReductionKind = "residual",
    ) -> None:
        super().__init__()
        self._space = NB201Space()
        self.stem = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        for stage in range(3):
            width = channels * 2**stage
            layers += [_REDUCTIONS[reduction](width // 2)] if stage else []
            layers += [_SharedCell(width) for _ in range(cells)]
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor, onehot: Tensor, y: Tensor) -> Tensor:
        """Task loss per device, [T]: mean cross-entropy in nats over the minibatch.

        Args:
            x: images, float [B, image_channels, H, W].
            onehot: one sampled architecture per device, [T, N].
            y: labels, int64 [B].
        """
        outputs = self.predict(x, onehot)
        losses = F.cross_entropy(outputs.flatten(0, 1), y.repeat(len(onehot)), reduction="none")
        return losses.view(len(onehot), -1).mean(dim=1)

    def predict(self, x: Tensor, onehot: Tensor) -> Tensor:
        """Logits [T, B, classes] of T architectures on one minibatch x [B, image_channels, H, W]."""
        x = batch_norm(self.stem(x))
        if onehot.requires_grad or not _is_hard(onehot):
            return self._predict_mixture(x, onehot.view(len(onehot), len(EDGES), len(OPERATIONS)))
        choices = self._space.indices(self._space.canonical(onehot)).tolist()
        return self._predict_single_path(x, choices)

    def _predict_mixture(self, x: Tensor, sample: Tensor) -> Tensor:
        states = x[None]  # [S, B, C, H, W]; the first cell's input is shared by all devices
        for layer in self.layers:
            if isinstance(layer, _SharedCell):
                states = layer.mixture(states, sample)
            else:
                states = layer(states.flatten(0, 1), len(states)).unflatten(0, states.shape[:2])
        return self._classify(states.flatten(0, 1), len(states)).unflatten(0, states.shape[:2])

    def _predict_single_path(self, x: Tensor, choices: Sequence[Sequence[int]]) -> Tensor:
        memo = _Memo()
        outputs = []
        for choice in choices:
            state = x
            for depth, layer in enumerate(self.layers):
                if isinstance(layer, _SharedCell):
                    state = layer.single_path(state, choice, memo)
                else:
                    state = memo(depth, layer, state)
            outputs.append(memo("classify", self._classify, state))
        return torch.stack(outputs)

    def _classify(self, x: Tensor, devices: int = 1) -> Tensor:
        return self.classifier(F.relu(batch_norm(x, devices)).mean(dim=(2, 3)))


def _is_hard(onehot: Tensor) -> bool:
    return bool(((onehot == 0) | (onehot == 1)).all())


@torch.no_grad()
def inherit_weights(supernet: NB201Supernet, network: NB201Network) -> None:
    """Copies the supernet's shared weights into a standalone network of the same C and N.

    Batch-norm layers keep scale 1 and shift 0; their running statistics must be estimated on data afterwards.
    """
    network.stem[0].weight.copy_(supernet.stem.weight)
    network.classifier.load_state_dict(supernet.classifier.state_dict())
    for shared, layer in zip(supernet.layers, network.layers):
        if isinstance(layer, ResidualReduction):
            layer.body[0][1].weight.copy_(shared.reduce.weight)
            layer.body[1][1].weight.copy_(shared.refine.weight)
            layer.project.weight.copy_(shared.project.weight)
        elif isinstance(layer, PoolReduction):
            layer[1].weight.copy_(shared.project.weight)
        elif isinstance(layer, Cell):
            for name, operation in layer.operations.items():
                if isinstance(operation, nn.Sequential):
                    kind = OPERATIONS[{size: op for op, size in KERNEL_SIZES.items()}[operation[1].kernel_size[0]]]
                    operation[1].weight.copy_(shared.convolutions[f"{name}_{kind}"].weight)
