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
    """In place of torch.cuda.make_graphed_callables: what it returns computes anew, and writes memory of its own."""

    POOL = (0, 7)

    def __init__(self) -> None:
        self.captured: list[tuple[Tensor, ...]] = []
        """The inputs of every capture."""

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
        assert options["pool"] == self.POOL and torch.is_grad_enabled()
        self.captured.append(own)
        output = torch.empty_like(function(*own).detach())

        def replay(*inputs: Tensor) -> Tensor:
            assert [v.shape for v in inputs] == [v.shape for v in own]
            assert [v.requires_grad for v in inputs] == [v.requires_grad for v in own]
            return _Written.apply(function(*inputs), output)

        return replay


class _Written(torch.autograd.Function):
    """The loss, in the graph's own memory."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, output: Tensor) -> Tensor:
        return output.copy_(loss).detach()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        return cotangent, None
