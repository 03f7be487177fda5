"""Which implementation serves each operation on each kind of device, and why.

The choice follows from what was built and what this machine has. It is made once, when an operation is first
asked for on a kind of device, and never by catching an exception around a kernel.
MODNAS_FAST_IMPL=reference in the environment forces the PyTorch references everywhere.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from modnas_fast.runtime.errors import InputError

DEVICE_KINDS = ("cpu", "cuda")
#: of the compiled core that this package calls, see csrc/bindings.cpp
INTERFACE = 3


class Availability(NamedTuple):
    """Whether something can serve here, why, and what to do when it cannot (empty: nothing)."""

    usable: bool
    reason: str
    remedy: str = ""


class Implementation(NamedTuple):
    """What serves one operation on one kind of device."""

    op: str
    device_kind: str
    name: str  # "reference", "composed" of library calls, "c++", "cuda" or "triton"
    reason: str
    remedy: str = ""  # how to get a faster one; empty when this is the fastest there is


class _Core(NamedTuple):
    module: ModuleType | None
    availability: Availability


@cache
def _load_core() -> _Core:
    if importlib.util.find_spec("modnas_fast._C") is None:
        return _Core(
            None,
            Availability(
                False,
                "the compiled core modnas_fast._C was not built",
                "install a C++ compiler, unset MODNAS_FAST_BUILD, then reinstall modnas-fast",
            ),
        )
    try:
        module = importlib.import_module("modnas_fast._C")
    except ImportError as error:
        return _Core(
            None,
            Availability(False, f"the compiled core modnas_fast._C does not load: {error}", "reinstall modnas-fast"),
        )
    if getattr(module, "INTERFACE", None) != INTERFACE:
        return _Core(
            None,
            Availability(
                False,
                "the compiled core modnas_fast._C was built from other sources than the Python beside it",
                "build it again: pip install --editable . (or reinstall modnas-fast)",
            ),
        )
    module.lend_team(_openmp_of_torch())
    return _Core(module, Availability(True, "compiled core modnas_fast._C"))


def _openmp_of_torch() -> int:
    """Address of GOMP_parallel in the OpenMP runtime that torch uses; 0 where there is none.

    Threads of the core's own would compete with those of torch, which keep spinning for a while after each operation.
    """
    import torch

    library = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
    if not library.exists():
        return 0
    start = getattr(ctypes.CDLL(str(library)), "GOMP_parallel", None)  # looked for in what the library depends on, too
    return ctypes.cast(start, ctypes.c_void_p).value or 0 if start else 0


def core() -> Any:
    """The compiled module modnas_fast._C, or None where it was not built."""
    return _load_core().module


def _compiled_on_cpu() -> Availability:
    return _load_core().availability


@cache
def _compiled_on_cuda() -> Availability:
    module, availability = _load_core()
    if module is None:
        return availability
    built = module.build_info()
    if built["cuda_runtime"] is None:
        return Availability(
            False,
            f"the compiled core has no CUDA: {built['without_cuda']}",
            "install the CUDA toolkit (nvcc), then reinstall modnas-fast with MODNAS_FAST_CUDA=on",
        )
    runtime, driver = built["cuda_runtime"], module.cuda_driver_version()
    if driver == 0:
        return Availability(False, "no CUDA driver was found")
    if driver // 1000 < runtime // 1000:
        return Availability(
            False,
            f"the core was built with CUDA {_version(runtime)}, but the driver supports {_version(driver)}",
            f"update the GPU driver, or reinstall modnas-fast with a CUDA {driver // 1000} toolkit",
        )
    found = gpus()
    return Availability(True, f"compiled core modnas_fast._C, CUDA {_version(runtime)}") if found.usable else found


def _triton_on_cuda() -> Availability:
    found = gpus()
    if not found.usable:
        return found
    if importlib.util.find_spec("triton") is None:
        return Availability(False, "Triton is not installed", "pip install triton")
    version = importlib.import_module("triton").__version__
    if tuple(map(int, version.split(".")[:2])) < (3, 5):
        return Availability(False, f"Triton {version} cannot multiply in float64", "install torch 2.9 or later")
    if not os.environ.get("CC") and not any(map(shutil.which, ("gcc", "clang"))):
        return Availability(
            False, "Triton finds no C compiler, which it needs on first use", "install a C compiler, or set CC"
        )
    return Availability(True, f"Triton {version}")


def gpus() -> Availability:
    """Whether torch sees GPUs, all of them of a generation that the kernels are made for."""
    import torch

    oldest = min(map(torch.cuda.get_device_capability, range(torch.cuda.device_count())), default=None)
    if oldest is None:
        return Availability(False, "torch sees no CUDA device")
    if oldest < (8, 0):
        return Availability(False, f"a GPU of compute capability {oldest[0]}.{oldest[1]} is older than 8.0")
    return Availability(True, "")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _library_calls() -> Availability:
    return Availability(True, "library calls of torch, only for what a device uses")


# Fast implementations per operation and kind of device, best first. The reference stands behind them all.
_FAST: dict[str, dict[str, list[tuple[str, Callable[[], Availability]]]]] = {
    "min_norm": {"cpu": [("c++", _compiled_on_cpu)], "cuda": [("cuda", _compiled_on_cuda)]},
    "gramian": {"cpu": [("c++", _compiled_on_cpu)], "cuda": [("triton", _triton_on_cuda)]},
    "combine": {"cpu": [("c++", _compiled_on_cpu)], "cuda": [("triton", _triton_on_cuda)]},
    "mixed_cell": {"cpu": [("composed", _library_calls)], "cuda": [("triton", _triton_on_cuda)]},
    "entangled_linear": {"cpu": [("composed", _library_calls)], "cuda": [("triton", _triton_on_cuda)]},
    "entangled_norm": {"cuda": [("triton", _triton_on_cuda)]},
    "elastic_depthwise": {"cpu": [("c++", _compiled_on_cpu)], "cuda": [("triton", _triton_on_cuda)]},
    "norm_activation": {"cpu": [("c++", _compiled_on_cpu)], "cuda": [("triton", _triton_on_cuda)]},
}


def operations() -> tuple[str, ...]:
    """The names of all operations that have an entry here.

    >>> "min_norm" in operations()
    True
    """
    return tuple(_FAST)


_forced: list[str] = []


def chosen(op: str, device_kind: str) -> Implementation:
    """What serves `op` on tensors of a device type such as "cpu" or "cuda".

    >>> chosen("min_norm", "mps").name
    'reference'
    """
    if _forced:
        return _named(op, device_kind, _forced[-1])
    return _at_load(op, device_kind)


@cache
def _at_load(op: str, device_kind: str) -> Implementation:
    if _environment() == "reference":
        return Implementation(op, device_kind, "reference", "MODNAS_FAST_IMPL=reference", "unset MODNAS_FAST_IMPL")
    candidates = _FAST[op].get(device_kind, [])
    refused = []
    for name, available in candidates:
        found = available()
        if found.usable:
            return Implementation(op, device_kind, name, found.reason)
        refused.append(found)
    if not refused:
        return Implementation(op, device_kind, "reference", f"nothing faster exists for {device_kind}")
    return Implementation(op, device_kind, "reference", refused[0].reason, refused[0].remedy)


def _environment() -> str:
    value = os.environ.get("MODNAS_FAST_IMPL", "").strip().lower()
    if value not in ("", "auto", "reference"):
        raise InputError(f"MODNAS_FAST_IMPL must be auto or reference, not {value!r}")
    return value or "auto"


def available(op: str, device_kind: str) -> tuple[str, ...]:
    """The names of all implementations of `op` that can serve here, fastest first; the last is the reference.

    >>> available("min_norm", "cpu")[-1]
    'reference'
    """
    fast = (name for name, check in _FAST[op].get(device_kind, []) if check().usable)
    return (*fast, "reference")


def _named(op: str, device_kind: str, name: str) -> Implementation:
    names = available(op, device_kind)
    if name not in names:
        raise ValueError(f"{op} has no implementation {name!r} on {device_kind} here, only {', '.join(names)}")
    return Implementation(op, device_kind, name, "asked for by name")


@contextmanager
def using(name: str) -> Iterator[None]:
    """Serves every operation by the implementation called `name` within the block, for tests and benchmarks.

    Holds for the whole process. An operation that has none of this name here raises ValueError when called.

    >>> with using("reference"):
    ...     chosen("min_norm", "cpu").name
    'reference'
    """
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()
