"""The cell space of NAS-Bench-201 (Dong & Yang, ICLR 2020): 4 nodes, 6 edges, 5 operations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.placement import to_device
from modnas_fast.spaces.architecture import Architecture, Choice
from modnas_fast.spaces.base import Graph, SearchSpace
from modnas_fast.spaces.nb201 import analytic
from modnas_fast.spaces.nb201.keys import NB201Keys
from modnas_fast.spaces.nb201.network import EDGES, NONE, NUM_NODES, OPERATIONS, SKIP, NB201Network

if TYPE_CHECKING:
    from modnas_fast.report.drawings import Drawing, Sample
    from modnas_fast.spaces.nb201.published import NB201Published
    from modnas_fast.spaces.nb201.supernet import NB201Supernet

# The graph of a cell: input, the six edges' operations, output, global.
#: cell nodes before and after each of them; -1 and NUM_NODES stand for the world outside
_SPANS = ((-1, 0), *EDGES, (NUM_NODES - 1, NUM_NODES), (-1, NUM_NODES))
_FEEDS = torch.tensor([[end == begin for begin, _ in _SPANS[:-1]] for _, end in _SPANS[:-1]])
_ENDS = torch.tensor([[1, 0, 0], *[[0, 0, 0]] * len(EDGES), [0, 1, 0], [0, 0, 1]])
#: the cell that gives what it gets
_IDLE = tuple(SKIP if edge == (0, NUM_NODES - 1) else NONE for edge in EDGES)


class NB201Space(SearchSpace):
    """15,625 cells: each edge i→j (i < j) of the 4-node cell carries one of five operations.

    Strings are those of the benchmark, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: per target node, the
    operation on the edge from each earlier node.

    >>> space = NB201Space()
    >>> space.num_options, space.num_architectures
    (30, 15625)
    >>> str(space.architecture([3, 0, 1, 0, 0, 1]))
    '|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|'
    """

    name = "nb201"
    keys = NB201Keys
    analytic_is_differentiable = True
    choices = tuple(Choice(f"edge_{source}_{target}", OPERATIONS) for source, target in EDGES)
    #: the reference networks of HELP (Lee et al., NeurIPS 2021) for NAS-Bench-201
    references = (
        "|avg_pool_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
        "|skip_connect~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|skip_connect~1|none~2|",
        "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
        "|none~0|+|nor_conv_1x1~0|none~1|+|nor_conv_3x3~0|nor_conv_1x1~1|nor_conv_1x1~2|",
        "|skip_connect~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|",
        "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|",
        "|skip_connect~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
        "|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    )

    def format(self, indices: Sequence[int]) -> str:
        self._check_indices(indices)
        return _format(tuple(indices))

    def parse(self, text: str) -> Architecture:
        architecture = self.architecture(_parse(text.strip()))
        if architecture.text != text.strip():
            raise InputError(f"architecture: {text!r} is no canonical string; did you mean {architecture.text!r}?")
        return architecture

    def canonical(self, onehot: Tensor) -> Tensor:
        """Edges that no path from the cell's input to its output uses are set to `none`."""
        operations = onehot.unflatten(-1, (len(EDGES), len(OPERATIONS)))
        carries = 1 - operations[..., NONE]
        on_path = self._on_path(carries)
        none = 1 - carries * on_path
        return torch.cat([none[..., None], operations[..., 1:] * on_path[..., None]], dim=-1).flatten(-2)

    def viable(self, onehot: Tensor) -> Tensor:
        """[...]: whether a path leads from the cell's input to its output."""
        none = onehot.unflatten(-1, (len(EDGES), len(OPERATIONS)))[..., NONE]
        c01, c02, c12, c03, c13, c23 = (1 - none).unbind(-1)
        # Edge 0→1 serves two paths: only told apart by its own value is the formula linear in it.
        cut_with_01 = (1 - c13) * (1 - c23 * (1 - (1 - c02) * (1 - c12)))
        cut_without_01 = 1 - c02 * c23
        return 1 - (1 - c03) * (c01 * cut_with_01 + (1 - c01) * cut_without_01)

    def graph(self, onehot: Tensor) -> Graph:
        """Nodes: input, the six edges' operations, output, global; kinds: the five operations, input, output, global.

        This is HELP's picture of a cell (Lee et al., NeurIPS 2021). Operations are connected where one's edge ends in
        the cell's node in which the next one's begins. Only the global node sees what is `none`.
        """
        operations = onehot.unflatten(-1, (len(EDGES), len(OPERATIONS)))
        carries = 1 - operations[..., NONE]
        gives = functional.pad(carries, (1, 1), value=1.0)
        adjacency = gives[..., :, None] * _constant_like(_FEEDS, gives) * gives[..., None, :]
        nowhere = torch.zeros_like(carries[..., 0])
        misses_input = [*self._misses_input(carries), nowhere]
        misses_output = [*self._misses_output(carries), nowhere]
        ends = _constant_like(_ENDS, operations).expand(*operations.shape[:-2], -1, -1)
        return Graph(
            kinds=torch.cat([functional.pad(operations, (0, 0, 1, 2)), ends], dim=-1),
            reached=1 - torch.stack([misses_input[before] for before, _ in _SPANS], dim=-1),
            used=1 - torch.stack([misses_output[after] for _, after in _SPANS], dim=-1),
            adjacency=functional.pad(adjacency, (0, 1, 0, 1), value=1.0),
        )

    @classmethod
    def _on_path(cls, carries: Tensor) -> Tensor:
        """[..., 6] per edge: whether its source is reached from node 0 and its target leads to node 3."""
        misses_input, misses_output = cls._misses_input(carries), cls._misses_output(carries)
        return torch.stack([(1 - misses_input[s]) * (1 - misses_output[t]) for s, t in EDGES], dim=-1)

    @staticmethod
    def _misses_input(carries: Tensor) -> list[Tensor]:
        """Per node, [...]: whether no path leads to it from node 0."""
        misses = [torch.ones_like(carries[..., 0])] * NUM_NODES
        misses[0] = torch.zeros_like(carries[..., 0])
        for edge, (source, target) in enumerate(EDGES):
            misses[target] = misses[target] * (1 - (1 - misses[source]) * carries[..., edge])
        return misses

    @staticmethod
    def _misses_output(carries: Tensor) -> list[Tensor]:
        """Per node, [...]: whether no path leads from it to node 3."""
        misses = [torch.ones_like(carries[..., 0])] * NUM_NODES
        misses[-1] = torch.zeros_like(carries[..., 0])
        for edge, (source, target) in reversed(list(enumerate(EDGES))):
            misses[source] = misses[source] * (1 - (1 - misses[target]) * carries[..., edge])
        return misses

    def analytic(self, onehot: Tensor, *, input_shape: Sequence[int], **network: Any) -> dict[str, Tensor]:
        """By formulas, differentiable in one-hots and relaxed samples [..., N]; see `SearchSpace.analytic`.

        >>> space = NB201Space()
        >>> network = {"image_channels": 3, "classes": 10, "channels": 16, "cells": 5}
        >>> onehot = space.encode([space.architecture([3] * 6)])
        >>> {name: value.item() for name, value in space.analytic(onehot, input_shape=(3, 32, 32), **network).items()}
        {'parameters': 1531546.0, 'flops': 440239360.0, 'memory': 6.453864}
        """
        rest = self._counts(_IDLE, tuple(input_shape), network)
        shape = analytic.Shape(network["channels"], network["cells"], *input_shape[1:])
        sample = onehot.double()
        return analytic.costs(sample, self.canonical(sample), self._states_at_peak, rest, shape)

    @cached_property
    def _states_at_peak(self) -> Tensor:
        return analytic.states_at_peak(self.canonical)

    @cached_property
    def published(self) -> NB201Published:
        """Tables of HELP, HW-NAS-Bench-360 and NATS-Bench."""
        from modnas_fast.spaces.nb201.published import NB201Published  # reads parquet: not needed for all else

        return NB201Published()

    def draw(self, architecture: Architecture) -> Drawing | None:
        """See `SearchSpace.draw`."""
        from modnas_fast.spaces.nb201.drawing import draw_cell

        return draw_cell(architecture.text)

    @property
    def legend(self) -> tuple[Sample, ...]:
        """See `SearchSpace.legend`."""
        from modnas_fast.spaces.nb201.drawing import legend

        return legend()

    def build(
        self, architecture: Architecture, *, input_shape: Sequence[int] | None = None, **task: Any
    ) -> NB201Network:
        """A standalone network for images of any `input_shape`; `task`: image_channels, classes, channels, cells."""
        alive = self.indices(self.canonical(self.encode([architecture])))[0]
        return NB201Network(tuple(alive.tolist()), **task)

    def supernet(self, *, input_shape: Sequence[int] | None = None, **task: Any) -> NB201Supernet:
        """Shared weights; `task` as in `build`, and `entangled` and `affine`."""
        from modnas_fast.spaces.nb201.supernet import NB201Supernet  # made of this space

        return NB201Supernet(**task)

    def inherited(self, shared: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
        """Weights of a standalone network out of those of the supernet, by name.

        The statistics of its batch normalisations are to be computed anew: `supernets.running_statistics`.
        """
        from modnas_fast.spaces.nb201.weights import inherited

        return inherited(shared, self.indices(self.canonical(self.encode([architecture])))[0].tolist())


def _constant_like(constant: Tensor, other: Tensor) -> Tensor:
    return to_device(constant, other.device).to(other.dtype)


# All networks of the space are written and read several times in a run on tables.


@cache
def _format(indices: tuple[int, ...]) -> str:
    nodes: list[str] = []
    for node in range(1, NUM_NODES):
        edges = [(s, indices[e]) for e, (s, target) in enumerate(EDGES) if target == node]
        nodes.append("|" + "|".join(f"{OPERATIONS[op]}~{source}" for source, op in edges) + "|")
    return "+".join(nodes)


@cache
def _parse(text: str) -> tuple[int, ...]:
    indices: list[int] = []
    for part in re.split(r"[|+]+", text.strip("|")):
        operation, _, source = part.partition("~")
        if operation not in OPERATIONS or len(indices) == len(EDGES) or source != str(EDGES[len(indices)][0]):
            raise InputError(
                f"architecture: {part!r} in {text!r} does not fit; wanted |op~0|+|op~0|op~1|+|op~0|op~1|op~2| "
                f"with op one of {', '.join(OPERATIONS)}"
            )
        indices.append(OPERATIONS.index(operation))
    return tuple(indices)
