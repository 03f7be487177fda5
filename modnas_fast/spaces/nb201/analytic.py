"""Formulas of what a network costs wherever it runs; `modnas_fast.spaces.counting` counts the same one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from modnas_fast.runtime.placement import to_device
from modnas_fast.spaces.counting import FLOAT_BYTES, MEGABYTE, Counts, Operation, peak
from modnas_fast.spaces.nb201.network import (
    AVG_POOL,
    CONV_1X1,
    CONV_3X3,
    EDGES,
    KERNEL_SIZES,
    NONE,
    NUM_NODES,
    OPERATIONS,
    SKIP,
)

STAGES = 3
#: what a cell computes for an operation, one after another: a convolution is ReLU, convolution and normalisation
_RUNS = {SKIP: 0, AVG_POOL: 1, CONV_1X1: 3, CONV_3X3: 3}
#: one operation of each kind that memory tells apart, and the kind of every operation
_KINDS = (NONE, SKIP, CONV_3X3, AVG_POOL)
_KIND_OF = tuple(_KINDS.index(CONV_3X3 if operation == CONV_1X1 else operation) for operation in range(len(OPERATIONS)))


class Shape(NamedTuple):
    """What determines the costs of cells: C, N per stage, and the images' height and width."""

    channels: int
    cells: int
    height: int
    width: int

    @property
    def stages(self) -> list[tuple[int, int]]:
        """Channels and pixels of each stage."""
        return [
            (self.channels * 2**stage, -(-self.height // 2**stage) * -(-self.width // 2**stage))
            for stage in range(STAGES)
        ]


def costs(onehot: Tensor, canonical: Tensor, states: Tensor, rest: Counts, shape: Shape) -> dict[str, Tensor]:
    """Parameters, FLOPs and memory in MB, float64 [...], of one-hots or relaxed samples [..., N], differentiable.

    Parameters and FLOPs are linear in the canonical one-hot. Memory besides weights is linear in each choice, so that
    its gradient by a hard sample is the effect of changing one choice.

    Args:
        onehot: [..., N], float64.
        canonical: the canonical form of them.
        states: `states_at_peak` of the space.
        rest: counts of the network whose cells compute nothing.
        shape: of the network and its images.
    """
    chosen = canonical.unflatten(-1, (len(EDGES), len(OPERATIONS))).sum(-2)  # edges per operation
    parameters = torch.zeros_like(chosen[..., 0]) + rest.parameters
    flops = torch.zeros_like(parameters) + rest.flops
    for operation, size in KERNEL_SIZES.items():
        kernels = [(size * size * channels * channels, channels, pixels) for channels, pixels in shape.stages]
        edges = shape.cells * chosen[..., operation]
        parameters = parameters + edges * sum(kernel + 2 * channels for kernel, channels, _ in kernels)
        flops = flops + edges * sum(2 * kernel * pixels for kernel, _, pixels in kernels)
    activations = _activations(onehot, states, rest, shape)
    return {
        "parameters": parameters,
        "flops": flops,
        "memory": (FLOAT_BYTES * parameters + activations) / MEGABYTE,
    }


def _activations(onehot: Tensor, states: Tensor, rest: Counts, shape: Shape) -> Tensor:
    """Bytes of activations at the peak, [...]: in the cells of the stage with the largest states, or elsewhere."""
    elsewhere = rest.memory * MEGABYTE - FLOAT_BYTES * rest.parameters
    state = float(FLOAT_BYTES * max(channels * pixels for channels, pixels in shape.stages))
    table = to_device((states * state).clamp(min=elsewhere), onehot.device)
    operations = onehot.unflatten(-1, (len(EDGES), len(OPERATIONS)))
    kinds = torch.stack(
        [sum(operations[..., o] for o, of in enumerate(_KIND_OF) if of == kind) for kind in range(len(_KINDS))], dim=-1
    )
    first, second = (_outer(kinds[..., half, :].unbind(-2)) for half in (slice(3), slice(3, 6)))
    return ((first @ table) * second).sum(-1)


def _outer(vectors: Sequence[Tensor]) -> Tensor:
    """All products of one entry of each of the vectors [..., K], the last one's running fastest."""
    result = vectors[0]
    for vector in vectors[1:]:
        result = (result[..., None] * vector[..., None, :]).flatten(-2)
    return result


def states_at_peak(canonical: Callable[[Tensor], Tensor]) -> Tensor:
    """How many states of a cell live at its peak, [64, 64]: by the kinds of its first three edges and of the others.

    `canonical` is the space's.
    """
    cells = torch.tensor(list(product(_KINDS, repeat=len(EDGES))))
    onehot = torch.nn.functional.one_hot(cells, len(OPERATIONS)).double().flatten(-2)
    alive = canonical(onehot).unflatten(-1, (len(EDGES), len(OPERATIONS))).argmax(-1)
    peaks = [_states_of(indices) for indices in alive.tolist()]
    return torch.tensor(peaks, dtype=torch.float64).unflatten(0, (len(_KINDS) ** 3, -1))


def _states_of(indices: Sequence[int]) -> int:
    """How many states live at the peak of one cell, computed as `network.Cell` does."""
    nodes: list[int | None] = [0] + [None] * (NUM_NODES - 1)
    program: list[Operation] = []

    def run(*reads: int) -> int:
        program.append(Operation(reads, (len(program) + 1,)))
        return len(program)

    for (source, target), index in zip(EDGES, indices):
        value, before = nodes[source], nodes[target]
        if index == NONE:
            continue
        assert value is not None  # in a canonical network
        for _ in range(_RUNS[index]):
            value = run(value)
        nodes[target] = value if before is None else run(before, value)
    output = run(0) if nodes[-1] is None else nodes[-1]
    return peak(program, dict.fromkeys(range(len(program) + 1), 1), [output])
