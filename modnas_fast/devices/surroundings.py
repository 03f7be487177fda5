"""What surrounds this process and changes how fast it computes: quota, clock, variables, settings of torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import torch

#: beginnings of the variables that libraries of computation, threads and memory read
VARIABLES = (
    *("OMP_", "KMP_", "GOMP_", "TBB_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "ONEDNN_", "DNNL_", "ATEN_", "XNNPACK_"),
    *("MALLOC_", "GLIBC_TUNABLES", "TCMALLOC_", "MIMALLOC_", "_RJEM_MALLOC_", "JE_MALLOC_", "LD_PRELOAD", "THP_"),
    *("TORCH_ALLOW_", "TORCH_BLAS_", "TORCH_LINALG_", "TORCH_CUDNN_", "TORCH_NNPACK_", "TORCH_CPU_", "TORCH_MKLDNN_"),
    *("PYTORCH_ALLOC_", "PYTORCH_CUDA_", "PYTORCH_NO_CUDA_", "LRU_CACHE_CAPACITY", "NVIDIA_TF32_", "CUBLAS", "CUDNN_"),
    *("CUDA_VISIBLE_", "CUDA_DEVICE_", "CUDA_MODULE_", "CUDA_LAUNCH_", "CUDA_FORCE_", "CUDA_AUTO_", "CUDA_TENSOR_"),
)
#: of those, what changes no speed: scikit-learn sets them when it is imported, which some commands do and some do not
HARMLESS = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
#: libraries and their operations whose precision for float32 can be set
PRECISIONS = (("mkldnn", "matmul"), ("mkldnn", "conv"), ("cudnn", "conv"), ("cuda", "matmul"))
#: files of a CPU's clock, below its `cpufreq/`
CLOCK = ("scaling_driver", "scaling_governor", "scaling_max_freq", "energy_performance_preference")
#: files of all CPUs, below /sys/devices/system/cpu
SHARED_CLOCK = ("intel_pstate/no_turbo", "cpufreq/boost", "smt/active")


def available_cpus() -> list[int]:
    """Numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_list(cpus: Sequence[int]) -> str:
    """Rising CPU numbers as the kernel writes them.

    >>> cpu_list([0, 1, 2, 3, 8, 10, 11])
    '0-3,8,10-11'
    """
    runs: list[list[int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1][1:] = [cpu]
        else:
            runs.append([cpu])
    return ",".join("-".join(map(str, run)) for run in runs)


# ---- the quota of a container ----


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that the control groups of this process allow it; None without a limit.

    The least of all groups from its own up, in either version of the files: a container sees its own group at the top,
    a service of the system sees it somewhere below.

    Args:
        root: what /proc and /sys lie in.
    """
    quotas = [_quota(folder) for folder in _cpu_groups(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _cpu_groups(root: Path) -> Iterator[Path]:
    """Folders of the groups that may limit CPU time, of every hierarchy named in /proc/self/cgroup."""
    mounts = root / "sys" / "fs" / "cgroup"
    own = _read(root / "proc" / "self" / "cgroup") or "0::/\n1:cpu:/"
    for line in own.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            hierarchies = [mounts, mounts / "unified"]
        elif "cpu" in controllers.split(","):
            hierarchies = [mounts / controllers, mounts / "cpu", mounts / "cpu,cpuacct"]
        else:
            continue
        # what lies outside of the namespace's top, "/..", is not to be seen here
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for hierarchy in hierarchies:
            yield from (hierarchy.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _quota(group: Path) -> float | None:
    """CPUs that one group allows; None where it does not limit."""
    limit = _read(group / "cpu.max").split()
    if not limit:
        limit = [*_read(group / "cpu.cfs_quota_us").split(), *_read(group / "cpu.cfs_period_us").split()]
    try:
        quota, period = (float(value) for value in limit)
    except ValueError:  # no files, or "max": no limit
        return None
    return quota / period if quota > 0 and period > 0 else None


# ---- clock, variables, settings ----


def clock(cpus: Sequence[int], root: Path = Path("/")) -> dict[str, str]:
    """What decides on the frequency of CPUs: by file, its content, or all contents where CPUs differ."""
    folder = root / "sys" / "devices" / "system" / "cpu"
    found = {name: _read(folder / name).strip() for name in SHARED_CLOCK}
    for name in CLOCK:
        values = {_read(folder / f"cpu{cpu}" / "cpufreq" / name).strip() for cpu in cpus}
        found[name] = " ".join(sorted(values - {""}))
    return {name: value for name, value in found.items() if value}


def library_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that begin like one of `VARIABLES`, sorted, without harmless ones."""
    names = (name for name in sorted(environment) if name.startswith(VARIABLES) and name not in HARMLESS)
    return {name: environment[name] for name in names}


def torch_settings() -> dict[str, str]:
    """Settings of torch in this process that decide how it computes, and what it was built with."""
    backends = torch.backends
    found: dict[str, object] = {
        "build": hashlib.sha256(torch.__config__.show().encode()).hexdigest()[:12],
        "cpu_capability": backends.cpu.get_cpu_capability(),
        "interop_threads": torch.get_num_interop_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "flush_denormal": bool(torch.tensor(1e-310, dtype=torch.float64) * 1 == 0),
        "matmul_precision": _matmul_precision(),
        "mkldnn": backends.mkldnn.is_available() and backends.mkldnn.enabled,
        "cudnn": backends.cudnn.enabled,
        "cudnn_benchmark": backends.cudnn.benchmark,
        "cudnn_deterministic": backends.cudnn.deterministic,
    }
    for library, operation in PRECISIONS:
        options = getattr(getattr(backends, library), operation, None)
        precision = getattr(options, "fp32_precision", None)
        found[f"{library}_{operation}_precision"] = "ieee" if precision == "none" else precision  # the same, unset
    return {name: str(value) for name, value in found.items() if value is not None}


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set library by library: `PRECISIONS` tells
        return "per library"


def _read(file: Path) -> str:
    """The text of a file of the kernel; empty where it is not there or not to be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
