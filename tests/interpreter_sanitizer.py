"""What Triton's interpreter does not look at: bounds, races between programs of a launch, and memory never written.

Programs of a launch run in random order. Every access must lie in a tensor of the launch, or in one that is told of;
no number that one program writes may be read or written by another. New memory holds NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

_NOBODY, _SEVERAL = -1, -2


class Sanitizer:
    """What was found in all launches so far."""

    def __init__(self, seed: int) -> None:
        self.problems: list[str] = []
        self.launches = self.programs = 0
        self.addressed: list[Tensor] = []
        """Tensors whose addresses a kernel reads from memory."""
        self._random = np.random.default_rng(seed)
        self._memory: _Memory | None = None
        self._order: np.ndarray = np.empty(0, dtype=np.int64)
        self._kernel, self._program = "", 0

    def begin(self, kernel: str, arguments: Iterable[Any]) -> None:
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        self._memory, self._kernel, self._order = _Memory([*tensors, *self.addressed]), kernel, np.empty(0, np.int64)
        self.launches += 1

    def end(self) -> None:
        self._memory = None

    def instead_of(self, program: int, count: int) -> int:
        """The program that runs in place of one, which comes in order."""
        if len(self._order) != count:
            self._order = self._random.permutation(count)
            self.programs += count
        self._program = int(self._order[program])
        return self._program

    def access(self, pointers: Any, mask: Any, size: int, writes: bool) -> None:
        """Checks one load or store of numbers of `size` bytes."""
        if self._memory is None:
            return
        addresses, wanted = np.broadcast_arrays(pointers.data, mask.data)
        places = self._memory.places(addresses[wanted.astype(bool)].astype(np.int64), size)
        if (places < 0).any():
            self._note(f"{'writes' if writes else 'reads'} outside of its tensors, {int((places < 0).sum())} times")
        found = self._memory.access(places[places >= 0], self._program, writes)
        if found:
            self._note(found)

    def _note(self, problem: str) -> None:
        self.problems.append(f"{self._kernel}: program {self._program} {problem}")


class _Memory:
    """Who wrote and who read each byte at which a number begins, of the tensors of a launch."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        ends: dict[int, int] = {}
        for tensor in tensors:
            if tensor.numel():
                reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
                end = tensor.data_ptr() + reach * tensor.element_size()
                ends[tensor.data_ptr()] = max(end, ends.get(tensor.data_ptr(), 0))
        merged: list[list[int]] = []
        for start in sorted(ends):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], ends[start])
            else:
                merged.append([start, ends[start]])
        self._ranges = np.array(merged, dtype=np.int64).reshape(-1, 2)
        sizes = self._ranges[:, 1] - self._ranges[:, 0]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._writer = np.full(int(self._offsets[-1]), _NOBODY, dtype=np.int64)
        self._reader = np.full(int(self._offsets[-1]), _NOBODY, dtype=np.int64)

    def places(self, addresses: np.ndarray, size: int) -> np.ndarray:
        """Where numbers lie here; -1 outside."""
        if not len(self._ranges):
            return np.full(addresses.shape, -1, dtype=np.int64)
        index = np.maximum(np.searchsorted(self._ranges[:, 0], addresses, side="right") - 1, 0)
        start, end = self._ranges[index].T
        inside = (addresses >= start) & (addresses + size <= end)
        return np.where(inside, self._offsets[index] + addresses - start, -1)

    def access(self, places: np.ndarray, program: int, writes: bool) -> str:
        """Notes it; what is wrong with it, if anything."""
        writer, reader = self._writer[places], self._reader[places]
        if not writes:
            self._reader[places] = np.where((reader == _NOBODY) | (reader == program), program, _SEVERAL)
            return "reads what another program writes" if _others(writer, program) else ""
        self._writer[places] = program
        if _others(writer, program):
            return "writes what another program writes"
        return "writes what another program reads" if _others(reader, program) else ""


def _others(programs: np.ndarray, program: int) -> bool:
    return bool(((programs != _NOBODY) & (programs != program)).any())


@contextmanager
def sanitized(seed: int = 0) -> Iterator[Sanitizer]:
    """Watches every launch within it; needs TRITON_INTERPRET=1 before triton is imported."""
    from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

    found = Sanitizer(seed)
    launch, set_index = GridExecutor.__call__, InterpreterBuilder.set_grid_idx
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def watched_launch(executor: Any, *arguments: Any, **options: Any) -> None:
        found.begin(executor.fn.__name__, [*arguments, *options.values()])
        try:
            launch(executor, *arguments, **options)
        finally:
            found.end()

    def shuffled(builder: Any, x: int, y: int, z: int) -> None:
        _, height, depth = builder.grid_dim
        program = found.instead_of((x * height + y) * depth + z, int(np.prod(builder.grid_dim)))
        set_index(builder, program // (height * depth), program // depth % height, program % depth)

    def watched_load(builder: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        found.access(pointers, mask, _bytes_of(pointers), writes=False)
        return load(builder, pointers, mask, *rest)

    def watched_store(builder: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        found.access(pointers, mask, _bytes_of(pointers), writes=True)
        return store(builder, pointers, value, mask, *rest)

    def not_checked(*_: Any) -> Any:
        raise NotImplementedError("atomic operations: their order is not fixed, and the sanitizer does not follow them")

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(GridExecutor, "__call__", watched_launch)
        patches.setattr(InterpreterBuilder, "set_grid_idx", shuffled)
        patches.setattr(InterpreterBuilder, "create_masked_load", watched_load)
        patches.setattr(InterpreterBuilder, "create_masked_store", watched_store)
        for name in ("create_atomic_cas", "create_atomic_rmw"):
            patches.setattr(InterpreterBuilder, name, not_checked)
        for name in ("empty", "empty_like"):
            patches.setattr(torch, name, _with_nan(getattr(torch, name)))
        yield found


def _bytes_of(pointers: Any) -> int:
    return max(1, pointers.get_element_ty().primitive_bitwidth // 8)


def _with_nan(make: Any) -> Any:
    """New memory of floats holds NaN, that of addresses one that is nobody's."""

    def poisoned(*arguments: Any, **options: Any) -> Tensor:
        memory: Tensor = make(*arguments, **options)
        if memory.is_floating_point():
            memory.fill_(torch.nan)
        elif memory.dtype == torch.int64:
            memory.fill_(0x7FF00000DEAD)
        return memory

    return poisoned
