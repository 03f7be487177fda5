"""A GPU that is not there: tensors without numbers on a device of their own, on which whoever waits for it fails.

torch's fake tensors know shapes, types and devices, and compute everything but values. A value that Python asks for
(`.item()`, `bool(tensor)`, a mask as an index) and tensors of two devices in one operation are errors. `NoWaiting`
adds what is possible, but lets the CPU wait for the GPU: copies from it, and copies to it out of ordinary memory.
The device is called `lazy`: without a CUDA build of torch, autograd refuses tensors that claim to be on `cuda`.

`StandInGraphs` take the place of CUDA graphs; they compute on the CPU, with numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import TorchDispatchMode

from modnas_fast.runtime import placement

GPU = torch.device("lazy", 0)
#: one for the whole process: constants that modules keep per device belong to it
FAKE = FakeTensorMode(allow_non_fake_inputs=True)


class Waited(Exception):
    """The CPU would have waited for the GPU."""


class NoWaiting(TorchDispatchMode):
    """Raises Waited for copies from the GPU, for blocking ones to it, and where tensors of the CPU slip in unseen."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        kinds = {tensor.device.type for tensor in _tensors((args, result))}
        if len(kinds) > 1 and not _queued_copy(func, args, kwargs, result):
            raise Waited(f"{func} with tensors on {' and '.join(sorted(kinds))}")
        return result


def _queued_copy(func: Any, args: Any, kwargs: Any, result: Any) -> bool:
    """Whether it is a copy to the GPU that nobody waits for."""
    if func is torch.ops.aten._to_copy.default:
        return result.device == GPU and kwargs.get("non_blocking", False)
    return func is torch.ops.aten.copy_.default and result.device == GPU and args[2:] == (True,)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those with axes; a single number of the CPU is passed to a kernel as such."""
    if isinstance(value, Tensor):
        if value.dim():
            yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


@contextmanager
def stand_in_gpu(may_wait: bool = False) -> Iterator[None]:
    """Within it, tensors may be moved to `GPU`. Pinned memory and Adam's count of steps are left out."""
    with pytest.MonkeyPatch.context() as patches, FAKE, nullcontext() if may_wait else NoWaiting():
        patches.setattr(placement, "_pinned", lambda tensor: tensor)
        # Adam counts its steps in a tensor on the CPU, which it may read
        patches.setattr(import_module("torch.optim.adam"), "_get_value", lambda count: 1.0)
        yield


class StandInGraphs:
    """In place of torch.cuda.make_graphed_callables: what it returns computes on the CPU, in memory as torch's has it.

    Inputs are copied to where the capture had them; the output and the gradients lie in memory that each capture has
    once, which every replay overwrites and hands out uncopied. Captures share what lies between: a backward pass whose
    forward pass was not the last replay would read what another graph wrote.
    """

    POOL = (0, 7)

    def __init__(self) -> None:
        self.captured: list[tuple[Tensor, ...]] = []
        """The inputs of every capture."""
        self.forward_passes = 0

    @classmethod
    def instead_of_cuda(cls, monkeypatch: pytest.MonkeyPatch) -> StandInGraphs:
        """Takes the place of torch's functions until the end of the test."""
        made = cls()
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", made)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: cls.POOL)
        return made

    def __call__(
        self, function: Callable[..., Tensor], own: tuple[Tensor, ...], **options: Any
    ) -> Callable[..., Tensor]:
        assert options["pool"] == self.POOL and options["allow_unused_input"] and torch.is_grad_enabled()
        self.captured.append(own)
        graph = _StandInGraph(self, function, own)

        def replay(*inputs: Tensor) -> Tensor:
            assert [v.shape for v in inputs] == [v.shape for v in own]
            assert [v.requires_grad for v in inputs] == [v.requires_grad for v in own]
            replayed: Tensor = _Replayed.apply(graph, *inputs)
            return replayed

        return replay


class _StandInGraph:
    """One capture: its own inputs, output, cotangent and gradients, and what its last replay keeps between passes."""

    def __init__(self, graphs: StandInGraphs, function: Callable[..., Tensor], own: tuple[Tensor, ...]) -> None:
        self._graphs, self._function, self._own = graphs, function, own
        self._wanted = [tensor for tensor in own if tensor.requires_grad]
        self._kept = function(*own)
        self._number = -1
        self.output = torch.empty_like(self._kept.detach())
        self._cotangent = torch.empty_like(self.output)
        self._gradients = [torch.empty_like(v) if v.requires_grad else None for v in own]

    def forward(self, inputs: tuple[Tensor, ...]) -> None:
        for own, given in zip(self._own, inputs):
            if own.data_ptr() != given.data_ptr():
                own.detach().copy_(given)
        with torch.enable_grad():
            self._kept = self._function(*self._own)
        self.output.copy_(self._kept.detach())
        self._graphs.forward_passes += 1
        self._number = self._graphs.forward_passes

    def backward(self, cotangent: Tensor) -> Iterator[Tensor | None]:
        """The gradient of each input, in the graph's own memory."""
        assert self._number == self._graphs.forward_passes, "another graph has overwritten the activations"
        self._cotangent.copy_(cotangent)
        found = iter(torch.autograd.grad(self._kept, self._wanted, self._cotangent, allow_unused=True))
        for static in self._gradients:
            gradient = None if static is None else next(found)  # library calls leave unused weights out, kernels none
            yield None if gradient is None else static.copy_(gradient).detach()


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: _StandInGraph, *inputs: Tensor) -> Tensor:
        ctx.graph = graph
        graph.forward(inputs)
        return graph.output.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.graph.backward(cotangent))
