"""The supernet of NAS-Bench-201 for T devices at once in plain PyTorch: every operation of every edge, then weighed.

It takes the sample as it is, hard or soft, without a branch on its values, so that `torch.compile` sees static
graphs. States are [B, T, C, H, W]: as [B·T, C, H, W] they are a batch for a convolution, as [B, T·C, H, W] one for a
batch normalisation with each device's own statistics, and neither view copies anything. The first cell's input is
the same for all devices and is worked on once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.bench.published_supernet import PublishedCell, PublishedSupernet
from modnas_fast.spaces.nb201.network import EDGES, NUM_NODES, OPERATIONS
from modnas_fast.supernets import Supernet


def per_image(function: Callable[..., Tensor], x: Tensor, *arguments: object, **options: object) -> Tensor:
    """A function of images [·, C, H, W] on states [B, T, C, H, W]."""
    return function(x.flatten(0, 1), *arguments, **options).unflatten(0, x.shape[:2])


def normalized(x: Tensor) -> Tensor:
    """Batch normalisation of [B, T, C, H, W] with each device's statistics of the minibatch."""
    return F.batch_norm(x.flatten(1, 2), None, None, training=True).unflatten(1, x.shape[1:3])


class BatchedCell(nn.Module):
    """The cell of T devices on the weights of a published cell."""

    def __init__(self, published: PublishedCell) -> None:
        super().__init__()
        self.edges = published.edges

    def forward(self, x: Tensor, sample: Tensor) -> Tensor:
        """[B, T, C, H, W] from x [B, T or 1, C, H, W] and a sample [T, 6, 5]."""
        nodes = [x]
        for node in range(1, NUM_NODES):
            incoming = [(edge, source) for edge, (source, target) in enumerate(EDGES) if target == node]
            nodes.append(sum(self.mixed(e, nodes[s], sample[:, e]) for e, s in incoming))
        return nodes[-1]

    def mixed(self, edge: int, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_k w_k · op_k(x); the operation `none` is nothing."""
        kernel, relu = self.edges[edge].kernel, F.relu(x)
        _, skip, small, large, pool = weights.view(len(weights), len(OPERATIONS), 1, 1, 1).unbind(1)
        total = skip * x
        total = total + small * normalized(per_image(F.conv2d, relu, kernel[..., 1:2, 1:2]))
        total = total + large * normalized(per_image(F.conv2d, relu, kernel, padding=1))
        return total + pool * per_image(F.avg_pool2d, x, 3, 1, 1, count_include_pad=False)


class BatchedSupernet(Supernet):
    """Called like our `NB201Supernet`, with the weights of a published one, of which it makes its own.

    Args:
        published: whose parameters it takes over.
        compiled: compile the cells with Inductor: one graph per stage serves its cells.
    """

    def __init__(self, published: PublishedSupernet, compiled: bool = False) -> None:
        super().__init__()
        self.stem, self.classifier = published.stem, published.classifier
        self.layers = nn.ModuleList(
            BatchedCell(layer) if isinstance(layer, PublishedCell) else layer for layer in published.layers
        )
        if compiled:
            self._compile()

    def _compile(self) -> None:
        """Each new shape of a cell is compiled anew; beyond torch's limit of 8 it would quietly run eagerly.

        What was compiled for other supernets is forgotten.
        """
        torch.compiler.reset()
        torch._dynamo.config.recompile_limit = 16
        for cell in self.layers:
            if isinstance(cell, BatchedCell):
                cell.compile(dynamic=False)

    def embed(self, x: Tensor) -> Tensor:
        """The stem's output [B, 1, C, H, W]."""
        return normalized(self.stem(x)[:, None])

    def predict_from(self, states: Tensor, onehot: Tensor, **_: object) -> Tensor:
        """Logits [T, B, classes]; there is one way only, whatever the keywords of `NB201Supernet.predict` ask for."""
        sample = onehot.view(len(onehot), len(EDGES), len(OPERATIONS))
        for layer in self.layers:
            if isinstance(layer, BatchedCell):
                states = layer(states, sample)
            else:
                states = residual(layer, states)
        return self.classifier(F.relu(normalized(states)).mean(dim=(3, 4))).transpose(0, 1)


def residual(layer: nn.Module, x: Tensor) -> Tensor:
    """The residual block on states [B, T, C, H, W]."""
    reduced = normalized(per_image(layer.reduce, F.relu(x)))
    refined = normalized(per_image(layer.refine, F.relu(reduced)))
    return per_image(layer.project, per_image(F.avg_pool2d, x, 2, 2)) + refined
