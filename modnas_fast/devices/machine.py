"""This machine: its fingerprint, and the device settings it offers."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from modnas_fast.devices.surroundings import (
    available_cpus,
    clock,
    cpu_list,
    cpu_quota,
    library_variables,
    torch_settings,
)

MIN_CPU_SETTINGS = 8
GPU_BATCHES = (1, 32, 256)
#: what /proc/cpuinfo calls instructions for bfloat16: of x86, and of ARM
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True)
class Fingerprint:
    """What a measurement depends on: measurements of one fingerprint are not used under another."""

    cpu: str
    #: that this process may run on
    cores: int
    threads: int
    torch: str
    gpus: tuple[str, ...]
    #: which CPUs these cores are, "0-3,8"
    affinity: str = ""
    #: CPUs' worth of time that a container is allowed; None without a limit
    quota: float | None = None
    #: governor, turbo and the like, by file
    clock: dict[str, str] = field(default_factory=dict)
    #: variables of the environment that libraries read
    variables: dict[str, str] = field(default_factory=dict)
    #: of torch in this process
    settings: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "gpus": list(self.gpus)}


@dataclass(frozen=True)
class Setting:
    """One way of running a network here: processor, CPU threads, batch size, number format."""

    processor: str
    threads: int
    batch: int
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """Readable and stable: `cpu_t1_b32_fp32` is one thread, batch 32, float32; `cuda0_b256_fp32` a GPU."""
        dtype = {torch.float32: "fp32", torch.bfloat16: "bf16"}[self.dtype]
        if self.processor == "cpu":
            return f"cpu_t{self.threads}_b{self.batch}_{dtype}"
        return f"{self.processor.replace(':', '')}_b{self.batch}_{dtype}"


def fingerprint(root: Path = Path("/")) -> Fingerprint:
    """The fingerprint of this machine and process; /proc and /sys are read below `root`."""
    cpus = available_cpus()
    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Fingerprint(
        _cpu_model(root),
        len(cpus),
        torch.get_num_threads(),
        torch.__version__,
        gpus,
        cpu_list(cpus),
        cpu_quota(root),
        clock(cpus, root),
        library_variables(),
        torch_settings(),
    )


def _cpu_model(root: Path) -> str:
    """The name of the CPU; where the kernel has none, as on ARM, the numbers of its designs."""
    info = root / "proc" / "cpuinfo"
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    pairs = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    named = [value for key, value in pairs if key in ("model name", "Model")]
    if named:
        return named[0]
    numbers = [f"{key[4:]} {value}" for key, value in pairs if key in ("CPU implementer", "CPU part", "CPU variant")]
    return " ".join([platform.processor() or platform.machine(), *dict.fromkeys(numbers)])


def available_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy all the time: those it may run on, or as many as a quota allows."""
    return _within_quota(len(available_cpus()), root)


def _within_quota(threads: int, root: Path) -> int:
    """At most `threads`, at least one, and no more than a container's quota lets run all the time.

    With more, threads would be stopped in the midst of a network until the quota's next period: of 1.5 CPUs, one.
    """
    quota = cpu_quota(root)
    return threads if quota is None else min(threads, max(1, int(quota)))


def native_formats(root: Path = Path("/")) -> tuple[str, ...]:
    """Number formats that this machine's CPU computes by instructions of its own; /proc is read below `root`.

    Without them a CPU computes bfloat16 by way of float32, and takes up to ten times as long as in float32: nobody
    deploys that, and measuring it is most of what a small run takes.
    """
    info = root / "proc" / "cpuinfo"
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    flags = {flag for line in lines for flag in line.split()}
    return ("float32", "bfloat16") if flags & BFLOAT16_FLAGS else ("float32",)


def machine_settings(root: Path = Path("/"), formats: Sequence[str] = ("float32", "bfloat16")) -> list[Setting]:
    """At least eight settings of this machine's CPU, four where it has one format, and three of each visible CUDA GPU.

    CPU: 1 and all threads × batch 1 and 32 × float32 and bfloat16; with a single format batch 8 as well, with a single
    thread batch 8 and 128. All threads are torch's, or those that a container's quota allows. /proc and /sys are read
    below `root`.
    """
    threads = sorted({1, _within_quota(torch.get_num_threads(), root)})
    batches: tuple[int, ...] = (1, 32) if len(threads) > 1 else (1, 8, 32, 128)
    if len(threads) > 1 and len(formats) == 1:
        batches = (1, 8, 32)
    cpu = [
        Setting("cpu", count, batch, dtype)
        for dtype in (getattr(torch, name) for name in formats)
        for count in threads
        for batch in batches
    ]
    assert len(cpu) >= MIN_CPU_SETTINGS * len(formats) // 2
    gpus = [
        Setting(f"cuda:{index}", 1, batch, torch.float32)
        for index in range(torch.cuda.device_count())
        for batch in GPU_BATCHES
    ]
    return cpu + gpus


def machine_setting(name: str) -> Setting | None:
    """The setting of this name, in whatever formats others are measured; None where this machine has none."""
    every = (machine_settings(formats=formats) for formats in (("float32", "bfloat16"), ("float32",), ("bfloat16",)))
    return next((each for settings in every for each in settings if each.name == name), None)


def cpu_setting(name: str) -> Setting | None:
    """The CPU setting of this name; None where this machine has none."""
    found = machine_setting(name)
    return found if found is not None and found.processor == "cpu" else None


def default_unseen(settings: list[Setting]) -> list[str]:
    """Names of the settings held out from the search: two of the CPU's, one where it has one format, one of each GPU's.

    Of the CPU the float32 setting with most threads and the largest batch and the bfloat16 setting with one thread
    and the smallest batch, so that each held-out thread count, batch and format also occurs in the search.
    """
    cpu = [setting for setting in settings if setting.processor == "cpu"]
    wide = [s for s in cpu if s.dtype == torch.float32]
    narrow = [s for s in cpu if s.dtype == torch.bfloat16]
    chosen = [max(wide, key=lambda s: (s.threads, s.batch))] if wide else []
    chosen += [min(narrow, key=lambda s: (s.threads, s.batch))] if narrow else []
    chosen += [s for s in settings if s.processor != "cpu" and s.batch == GPU_BATCHES[1]]
    return [setting.name for setting in chosen]
