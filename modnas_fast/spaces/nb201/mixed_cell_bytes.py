"""How many bytes the Triton kernels of mixed_cell move, to divide a measured time by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from modnas_fast.spaces.nb201.network import AVG_POOL, CONV_1X1, CONV_3X3, EDGES, NUM_NODES, SKIP

_CONVOLUTIONS = (CONV_1X1, CONV_3X3)
_OTHERS = (SKIP, AVG_POOL)


def bytes_moved(
    shape: Sequence[int],
    itemsize: int,
    active: Tensor,
    what: Literal["forward", "backward"],
    *,
    x: bool = True,
    weights: bool = True,
    samples: bool = True,
) -> int:
    """Bytes read from and written to the GPU's memory by one call or by its backward pass.

    Args:
        shape: of x, [S, B, C, H, W].
        itemsize: bytes per number of x.
        active: bool [T, 6, 5], on the CPU.
        what: the forward pass, or the backward pass without recomputation.
        x, weights, samples: which gradients the backward pass computes.

    Counted are images of nodes, of raw convolutions and of gradients: once per kernel that reads or writes them, as
    if the L2 cache held what neighbouring programs share. Kernels of convolutions and partial sums, a few per cent,
    are left out. In units of B·C·H·W numbers, with all operations active and S = T: forward 36 T; backward 96 T, of
    which 24 T are for the gradients of weights. Composed of library calls the forward pass takes 168 T: per node two
    for relu, per edge 4 for two convolutions, 6 for their normalisation, 2 for the average, 8 to stack, 5 to weight and
    add operations, 2 to add edges.

    >>> import torch
    >>> bytes_moved((1, 2, 16, 8, 8), 2, torch.ones(1, 6, 5, dtype=torch.bool), "forward") // (2 * 16 * 8 * 8 * 2)
    36
    """
    count = _Count(shape[0], active)
    if what == "forward":
        units = sum(count.convolutions(node) for node in range(NUM_NODES - 1))
        units += sum(count.sums(node) for node in range(1, NUM_NODES))
    else:
        units = sum(count.reductions(node, samples) for node in range(1, NUM_NODES))
        first = 0 if x or weights else 1
        units += sum(count.differentiated(node, first) for node in range(1, NUM_NODES))
        units += sum(count.gathered(node) for node in range(0 if x else 1, NUM_NODES - 1))
        units += count.weights() if weights else 0
    batch, channels, height, width = shape[1:]
    return units * batch * channels * height * width * itemsize


class _Count:
    """Units of B·C·H·W numbers that each stage moves."""

    def __init__(self, states: int, active: Tensor) -> None:
        self.active: list[list[list[bool]]] = active.tolist()
        self.devices = len(self.active)
        self.states = states

    def convolutions(self, source: int) -> int:
        """The source read once per state that anything convolves, each result written."""
        units = 0
        for devices in self._states_of(source):
            results = [
                any(self.active[device][edge][operation] for device in devices)
                for edge in self._edges(source=source)
                for operation in _CONVOLUTIONS
            ]
            units += any(results) + sum(results)
        return units

    def sums(self, target: int) -> int:
        """Results read, sources read for the identity and the average, the target written."""
        units = self.devices
        for device in self.active:
            for edge in self._edges(target=target):
                units += sum(device[edge][operation] for operation in _CONVOLUTIONS)
                units += any(device[edge][operation] for operation in _OTHERS)
        return units

    def reductions(self, target: int, samples: bool) -> int:
        """As `sums`, with the gradient read instead of the target written; sources where the sample wants them."""
        if samples:
            return self.sums(target)
        chosen = [device[edge] for device in self.active for edge in self._edges(target=target)]
        return self.devices + sum(edge[operation] for edge in chosen for operation in _CONVOLUTIONS)

    def differentiated(self, target: int, first: int) -> int:
        """Results read and their gradients written, that of the target read per device that has any of them."""
        units = 0
        for device in self.active:
            edges = [device[edge] for edge in self._edges(target=target) if EDGES[edge][0] >= first]
            convolutions = sum(edge[operation] for edge in edges for operation in _CONVOLUTIONS)
            units += 2 * convolutions + (convolutions > 0)
        return units

    def gathered(self, source: int) -> int:
        """Gradients of results and targets read per device, the source read and its gradient written per state."""
        units = 2 * len(self._states_of(source))
        for device in self.active:
            for edge in self._edges(source=source):
                units += any(device[edge][operation] for operation in _OTHERS)
                units += sum(device[edge][operation] for operation in _CONVOLUTIONS)
        return units

    def weights(self) -> int:
        """Gradient of the result and source read for each convolution."""
        return 2 * sum(edge[operation] for device in self.active for edge in device for operation in _CONVOLUTIONS)

    def _states_of(self, node: int) -> list[list[int]]:
        """The devices of each state of a node."""
        everyone = list(range(self.devices))
        return [everyone] if node == 0 and self.states == 1 else [[device] for device in everyone]

    @staticmethod
    def _edges(source: int | None = None, target: int | None = None) -> list[int]:
        return [e for e, (start, end) in enumerate(EDGES) if start == source or end == target]
