"""This machine: its fingerprint, and the device settings it offers."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

MIN_CPU_SETTINGS = 8
GPU_BATCHES = (1, 32, 256)


@dataclass(frozen=True)
class Fingerprint:
    """What a measurement depends on: measurements of one fingerprint are not used under another."""

    cpu: str
    cores: int
    threads: int
    torch: str
    gpus: tuple[str, ...]

    def to_dict(self) -> dict:
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


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fingerprint() -> Fingerprint:
    """The fingerprint of this machine and process."""
    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Fingerprint(_cpu_model(), available_cores(), torch.get_num_threads(), torch.__version__, gpus)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_settings() -> list[Setting]:
    """At least eight settings of this machine's CPU, and three of each visible CUDA GPU.

    CPU: 1 and all threads × batch 1 and 32 × float32 and bfloat16; on a single core batch 8 and 128 as well.
    """
    threads = sorted({1, torch.get_num_threads()})
    batches = (1, 32) if len(threads) > 1 else (1, 8, 32, 128)
    cpu = [
        Setting("cpu", count, batch, dtype)
        for dtype in (torch.float32, torch.bfloat16)
        for count in threads
        for batch in batches
    ]
    assert len(cpu) >= MIN_CPU_SETTINGS
    gpus = [
        Setting(f"cuda:{index}", 1, batch, torch.float32)
        for index in range(torch.cuda.device_count())
        for batch in GPU_BATCHES
    ]
    return cpu + gpus


def default_unseen(settings: list[Setting]) -> list[str]:
    """Names of the settings held out from the search: two of the CPU's, one of each GPU's.

    Of the CPU the float32 setting with most threads and the largest batch and the bfloat16 setting with one thread
    and the smallest batch, so that each held-out thread count, batch and format also occurs in the search.
    """
    cpu = [setting for setting in settings if setting.processor == "cpu"]
    wide = [s for s in cpu if s.dtype == torch.float32]
    narrow = [s for s in cpu if s.dtype == torch.bfloat16]
    chosen = [
        max(wide, key=lambda s: (s.threads, s.batch)),
        min(narrow, key=lambda s: (s.threads, s.batch)),
    ]
    chosen += [s for s in settings if s.processor != "cpu" and s.batch == GPU_BATCHES[1]]
    return [setting.name for setting in chosen]
