"""Parameters, FLOPs and memory of a network, counted without computing it: it runs on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

#: of a number in float32
FLOAT_BYTES = 4
#: bytes in a MB
MEGABYTE = 1e6


class Counts(NamedTuple):
    """What a network costs wherever it runs; see `SearchSpace.analytic` for what is counted."""

    parameters: int
    flops: int
    #: MB
    memory: float


class Operation(NamedTuple):
    """One operation of a program: the names of the buffers that it reads and those that it makes or changes."""

    reads: tuple[int, ...]
    writes: tuple[int, ...]


def peak(program: Sequence[Operation], sizes: dict[int, int], kept: Sequence[int]) -> int:
    """The largest sum of `sizes` of the buffers that live at once while a program runs.

    A buffer lives from the operation that makes it, the first one where none does, to the last that reads it; those in
    `kept` to the end. What nobody reads does not live.

    >>> chain = [Operation((0,), (1,)), Operation((1,), (2,)), Operation((2,), (3,))]
    >>> peak(chain, {0: 5, 1: 10, 2: 10, 3: 1}, kept=[3])
    20
    """
    places = max(len(program), 1)
    first: dict[int, int] = {}
    last: dict[int, int] = dict.fromkeys(kept, places - 1)
    for place, operation in enumerate(program):
        for name in operation.writes:
            first.setdefault(name, place)
        for name in operation.reads:
            first.setdefault(name, 0)
            last[name] = max(last.get(name, 0), place)
    alive = [0] * places
    for name, end in last.items():
        for place in range(first.get(name, 0), end + 1):
            alive[place] += sizes[name]
    return max(alive)


def count(build: Callable[[], nn.Module], input_shape: Sequence[int], ids: bool = False) -> Counts:
    """What the network that `build` makes costs for one sample of `input_shape`, float32 or ids, in inference.

    >>> count(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), [4])
    Counts(parameters=58, flops=96, memory=0.000296)
    """
    with torch.random.fork_rng(devices=[]):
        network = build()  # where a space can look at its tensors
    parameters = sum(parameter.numel() for parameter in network.parameters())  # on meta, tied ones would count twice
    network = network.to("meta").eval()
    with torch.device("meta"), torch.no_grad():
        sample = torch.empty(1, *input_shape, dtype=torch.int64 if ids else torch.float32)
        trace, flops = _Trace(network, [sample]), FlopCounterMode(display=False)
        with flops, trace:
            output = network(sample)
    activations = peak(trace.program, trace.sizes, trace.names(output))
    return Counts(parameters, flops.get_total_flops(), (FLOAT_BYTES * parameters + activations) / MEGABYTE)


def peak_bytes(
    network: nn.Module, run: Callable[..., Tensor], inputs: Sequence[Tensor], kept: Sequence[Tensor] = ()
) -> int:
    """The largest sum of activations that live at once while `run` works on `inputs`, in bytes; see `count`.

    Args:
        network: whose weights are not counted, on the meta device as the inputs are.
        run: a part of the network's pass.
        inputs: they live to the last operation that reads them.
        kept: those of them that live to the end.
    """
    with torch.device("meta"), torch.no_grad():
        trace = _Trace(network, inputs)
        with trace:
            output = run(*inputs)
        return peak(trace.program, trace.sizes, trace.names([output, *kept]))


class _Trace(TorchDispatchMode):
    """Records which operations a network runs and which buffers they touch, without those that hold its weights."""

    def __init__(self, network: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.program: list[Operation] = []
        self.sizes: dict[int, int] = {}
        self._weights = {_buffer(tensor) for tensor in [*network.parameters(), *network.buffers()]}
        self._held: list[Tensor] = [*inputs]  # what lives keeps its name: a buffer that is freed would give it away

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.program.append(Operation(self.names((args, kwargs)), self.names(made)))
        return made

    def names(self, tree: Any) -> tuple[int, ...]:
        """Of the buffers behind all tensors in a tree."""
        tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
        self._held += tensors
        found = {_buffer(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}
        activations = {name: size for name, size in found.items() if name not in self._weights}
        self.sizes.update(activations)
        return tuple(activations)


def _buffer(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
