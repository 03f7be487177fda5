"""Published cost tables of all 15,625 cells as training data of predictors, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.table import devices_of
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.error_table import load_nats_bench
from modnas_fast.spaces.nb201.published import load_help, load_hw_nas_bench_360
from modnas_fast.spaces.published import CostTable

SPACE = NB201Space()


@dataclass(frozen=True)
class Costs:
    """One metric of every cell, A of them, on T devices."""

    devices: list[Device]
    #: one-hots, [A, N]
    onehot: Tensor
    #: in each device's normalised range, [A, T]
    cost: Tensor
    #: rows of the ten reference networks
    references: list[int]
    metric: str

    @property
    def d(self) -> Tensor:
        """Embeddings, [T, E]."""
        return embeddings(self.devices)

    def only(self, names: Sequence[str]) -> Costs:
        """The costs on these devices, in this order."""
        known = [device.name for device in self.devices]
        columns = [known.index(name) for name in names]
        devices = [self.devices[column] for column in columns]
        return Costs(devices, self.onehot, self.cost[:, columns], self.references, self.metric)


def _costs(table: CostTable, metric: str) -> Costs:
    column = list(table.metrics).index(metric)
    values = {name: value[:, column] for name, value in table.values.items()}
    one = {name: value[:, None] for name, value in values.items()}
    devices = devices_of(CostTable(table.architectures, {metric: table.metrics[metric]}, one), SPACE, list(values), [])
    cost = torch.stack([device.normalize(values[device.name], metric) for device in devices], dim=1).float()
    onehot = SPACE.encode([SPACE.parse(text) for text in table.architectures])
    return Costs(devices, onehot, cost, table.rows(SPACE.references).tolist(), metric)


@cache
def help_latencies(folder: Path) -> Costs:
    """Latency on HELP's 27 device settings; `folder` is that of the tables."""
    architectures = load_nats_bench(folder / "nb201/nats_bench.csv").architectures
    return _costs(load_help(folder / "nb201/help-latency", architectures), "latency")


@cache
def pi5_energies(folder: Path) -> Costs:
    """Energy on a Raspberry Pi 5 under three runtimes (HW-NAS-Bench-360, CIFAR-100)."""
    architectures = load_nats_bench(folder / "nb201/nats_bench.csv").architectures
    file = folder / "nb201/hw-nas-bench-360/dataset.parquet"
    return _costs(load_hw_nas_bench_360(file, architectures), "energy")
