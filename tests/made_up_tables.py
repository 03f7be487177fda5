"""A made-up tabular benchmark over all cells of NAS-Bench-201: in memory, and as files like the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from modnas_fast.devices.table import devices_of
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.error_table import NATS_COLUMNS
from modnas_fast.spaces.published import CostTable

SPACE = NB201Space()
ONEHOT = SPACE.enumerate()
TEXTS = tuple(architecture.text for architecture in SPACE.decode(ONEHOT))
UNITS = {"latency": "ms", "energy": "mJ"}


@cache
def errors() -> Tensor:
    """In percent, float64 [n]: every operation on a path takes a share of what is left; 90 where no path is."""
    gain = torch.rand(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gain = gain * torch.tensor([0.0, 0.4, 0.7, 1.0, 0.3], dtype=torch.float64).repeat(6)
    error = 5 + 60 * (-SPACE.canonical(ONEHOT).double() @ gain).exp()
    return error.where(SPACE.viable(ONEHOT) > 0.5, 90.0)


@cache
def costs(device: int, metric: str = "latency") -> Tensor:
    """In ms or mJ, float64 [n]: a base and a price per operation as it is written, between two kinds of device."""
    generator = torch.Generator().manual_seed(2 + list(UNITS).index(metric))
    share = (device % 7) / 6
    kinds = torch.tensor([[0.0, 0.1, 1.0, 4.0, 0.5], [0.0, 0.5, 1.5, 2.0, 3.0]], dtype=torch.float64)
    prices = ((1 - share) * kinds[0] + share * kinds[1]).repeat(6)
    prices = prices * (0.8 + 0.4 * torch.rand(30, generator=generator, dtype=torch.float64))
    return (1 + device) * (2 + ONEHOT.double() @ prices)


def make_benchmark(search: int = 3, unseen: int = 1, metrics: Sequence[str] = ("latency",)) -> Benchmark:
    """Devices `device 0`, `device 1`, …; the last `unseen` of them are held out."""
    values = {
        f"device {k}": torch.stack([costs(k, metric) for metric in metrics], dim=-1) for k in range(search + unseen)
    }
    table = CostTable(TEXTS, {metric: UNITS[metric] for metric in metrics}, values)
    names = list(values)
    devices = tuple(devices_of(table, SPACE, names[:search], names[search:]))
    return Benchmark(SPACE, "cifar10", table, errors(), errors() < 89.9, devices, 90.0)


def write_tables(folder: Path, devices: Sequence[str]) -> Path:
    """The folder with `nb201/` in it, as MODNAS_DATA names it; all three tasks share the errors."""
    latencies = folder / "nb201" / "help-latency"
    latencies.mkdir(parents=True)
    lines = [",".join(map(str, [text, *[100 - error] * 3])) for text, error in zip(TEXTS, errors().tolist())]
    header = ",".join(["ArchitectureString", *NATS_COLUMNS.values()])
    (folder / "nb201" / "nats_bench.csv").write_text("\n".join([header, *lines]))
    for number, device in enumerate(devices):
        torch.save(costs(number).tolist(), latencies / f"{device}.pt")
    boards = folder / "nb201" / "hw-nas-bench-360"
    boards.mkdir()
    write_boards(boards / "dataset.parquet", {"litert": 0, "onnx": 3})
    return folder


def write_boards(file: Path, frameworks: dict[str, int]) -> None:
    """Latency and energy of a `pi5` with frameworks that behave like devices of `costs`, in no order."""
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(0))
    parts = [
        pa.table(
            {
                "task": ["cifar100"] * len(TEXTS),
                "status": ["ok"] * len(TEXTS),
                "device": ["pi5"] * len(TEXTS),
                "framework": [framework] * len(TEXTS),
                "arch_idx": order.numpy(),
                "lat_ms_median": costs(device)[order].numpy(),
                "energy_mj": costs(device, "energy")[order].numpy(),
            }
        )
        for framework, device in frameworks.items()
    ]
    pq.write_table(pa.concat_tables(parts), file)
