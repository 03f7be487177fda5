"""What this installation runs on: versions, hardware, and which implementation serves each operation."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType

from modnas_fast.devices.machine import native_formats
from modnas_fast.runtime import implementations
from modnas_fast.runtime.placement import search_device
from modnas_fast.runtime.terminal_table import Column, FittedTable, WholeLine

PACKAGES = ("modnas-fast", "torch", "numpy", "triton")


@dataclass(frozen=True)
class Serving:
    """One row of the table: what serves an operation on a kind of device."""

    op: str
    device_kind: str
    implementation: str
    reason: str


@dataclass(frozen=True)
class Missing:
    """Something that is absent and the line that mends it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything `modnas-fast doctor` shows."""

    python: str
    system: str
    packages: dict[str, str | None]  # version, or None where not installed
    compiler: str | None  # that built the core
    core_version: str | None
    cpu: str
    logical_cores: int
    cpu_bfloat16: bool  # whether the CPU has instructions for it, so that runs try whether it is faster
    torch_threads: int
    torch_cuda: str | None  # CUDA version that torch was built with
    core_cuda: str | None  # CUDA runtime inside the core
    driver_cuda: str | None  # CUDA version that the driver supports
    gpus: list[str]
    search_device: str  # that a search computes on where search.device is auto
    operations: list[Serving]
    missing: list[Missing]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, for JSON."""
        return asdict(self)


def diagnose() -> Diagnosis:
    """The state of this installation on this machine; changes nothing and needs no GPU.

    >>> any(row.op == "min_norm" for row in diagnose().operations)
    True
    """
    core = implementations.core()
    built = core.build_info() if core is not None else {}
    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages={name: _version(name) for name in PACKAGES},
        compiler=built.get("compiler"),
        core_version=built.get("version"),
        cpu=_cpu_model(),
        logical_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu_bfloat16="bfloat16" in native_formats(),
        torch_threads=torch.get_num_threads(),
        torch_cuda=torch.version.cuda,
        core_cuda=_cuda_version(built.get("cuda_runtime")),
        driver_cuda=_cuda_version(_driver()),
        gpus=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        search_device=str(search_device("auto")),
        operations=_operations(),
        missing=_missing(built),
    )


def render(diagnosis: Diagnosis) -> RenderableType:
    """The diagnosis as tables for a terminal of rich."""
    lines = [WholeLine(f"{name:<18}{value}") for name, value in _facts(diagnosis)]
    columns = [Column("operation"), Column("device"), Column("served by"), Column("because", wraps=True)]
    rows = [[row.op, row.device_kind, row.implementation, row.reason] for row in diagnosis.operations]
    parts: list[RenderableType] = [*lines, "", FittedTable(columns, rows, "Implementations")]
    if diagnosis.missing:
        columns = [Column("missing", wraps=True), Column("mended by", wraps=True)]
        rows = [[part.what, part.remedy] for part in diagnosis.missing]
        parts += ["", FittedTable(columns, rows, "Optional parts that are missing")]
    return Group(*parts)


def _facts(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    compiled = "not built"
    if diagnosis.compiler:
        cuda = f"CUDA {diagnosis.core_cuda}" if diagnosis.core_cuda else "no CUDA"
        compiled = f"{diagnosis.core_version}, {diagnosis.compiler}, {cuda}"
    torch_cuda = f"CUDA {diagnosis.torch_cuda}" if diagnosis.torch_cuda else "no CUDA"
    versions = {name: version or "not installed" for name, version in diagnosis.packages.items()}
    versions["torch"] += f", {torch_cuda}, {diagnosis.torch_threads} threads"
    return [
        ("Python", f"{diagnosis.python} on {diagnosis.system}"),
        *versions.items(),
        ("compiled core", compiled),
        ("CPU", f"{diagnosis.cpu}, {diagnosis.logical_cores} logical cores{', bfloat16' * diagnosis.cpu_bfloat16}"),
        ("CUDA driver", f"CUDA {diagnosis.driver_cuda}" if diagnosis.driver_cuda else "none"),
        ("GPUs", ", ".join(diagnosis.gpus) or "none"),
        ("a search runs on", diagnosis.search_device),
    ]


def _operations() -> list[Serving]:
    chosen = (
        implementations.chosen(op, kind) for op in implementations.operations() for kind in implementations.DEVICE_KINDS
    )
    return [Serving(row.op, row.device_kind, row.name, row.reason) for row in chosen]


def _missing(built: dict[str, Any]) -> list[Missing]:
    """What this machine could use and does not have; parts for hardware that is not here are left out."""
    found: dict[str, Missing] = {}
    for op in implementations.operations():
        for kind in ("cpu", "cuda") if _driver() else ("cpu",):
            row = implementations.chosen(op, kind)
            if row.remedy:
                found.setdefault(row.reason, Missing(f"{op} on {kind}: {row.reason}", row.remedy))
    version = _version("modnas-fast")
    if built and built["version"] != version:
        found["version"] = Missing(
            f"the compiled core is of version {built['version']}, the package of {version}",
            "reinstall modnas-fast",
        )
    if _driver() and not torch.version.cuda:
        found["torch"] = Missing(
            "there is a GPU driver, but torch was built without CUDA",
            "install a CUDA build of torch (https://pytorch.org/get-started/locally)",
        )
    return list(found.values())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> int | None:
    """CUDA version of the driver as 1000 * major + 10 * minor; None without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int(0)
    return version.value if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else None


def _cuda_version(number: int | None) -> str | None:
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _cpu_model() -> str:
    """The processor's name as the kernel gives it, else what Python knows."""
    source = Path("/proc/cpuinfo")
    if source.exists():
        for line in source.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    return platform.processor() or platform.machine()
