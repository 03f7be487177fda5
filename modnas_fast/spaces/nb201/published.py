"""The published tables of NAS-Bench-201: latencies of HELP, latency and energy of HW-NAS-Bench-360, true errors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from modnas_fast.datasets.home import locate
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces.nb201.error_table import ErrorTable, load_nats_bench
from modnas_fast.spaces.published import CostTable, Published, Truth

HELP, HW_NAS_BENCH_360 = "help", "hw-nas-bench-360"
#: classes and side of the images in pixels by task
TASKS = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16-120": (120, 16)}
#: error in percent on CIFAR-10 from which on a network learned nothing, whatever the task
DEGENERATE_ERROR = 89.9
#: HELP's device settings for NAS-Bench-201 as MODNAS splits them
PAPER_SEARCH = [
    "1080ti_1",
    "1080ti_32",
    "1080ti_256",
    "silver_4114",
    "silver_4210r",
    "samsung_a50",
    "pixel3",
    "essential_ph_1",
    "samsung_s7",
    "titanx_1",
    "titanx_32",
    "titanx_256",
    "gold_6240",
]
PAPER_UNSEEN = ["titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss"]


class NB201Published(Published):
    """Tables of all 15,625 networks. 341 with an error of 90 % on CIFAR-10 learned nothing and are not kept."""

    tables = (HELP, HW_NAS_BENCH_360)
    tasks = tuple(TASKS)
    hint = " (`modnas-fast data fetch cifar10` brings CIFAR-10); --preset nb201 searches without images"

    @cached_property
    def _errors(self) -> ErrorTable:
        return load_nats_bench(locate("nb201/nats_bench.csv"))

    def costs(self, table: str) -> CostTable:
        """HELP's latencies of 27 settings, or latency and energy of a Raspberry Pi 5 with three frameworks."""
        if table == HELP:
            return load_help(locate("nb201/help-latency/1080ti_1.pt").parent, self._errors.architectures)
        return load_hw_nas_bench_360(locate("nb201/hw-nas-bench-360/dataset.parquet"), self._errors.architectures)

    def truth(self, task: str) -> Truth:
        """Test errors in percent of the networks trained for 200 epochs (NATS-Bench)."""
        classes, side = TASKS[task]
        errors = self._errors.errors
        return Truth(
            task,
            Objective("error", "%"),
            self._errors.architectures,
            errors[task],
            errors["cifar10"] < DEGENERATE_ERROR,
            100 * (1 - 1 / classes),
            "true test errors of the networks trained for 200 epochs (NATS-Bench)",
            {"image_channels": 3, "classes": classes, "input_shape": (3, side, side)},
            {"classes": classes, "image": [3, side, side], "sizes": {}},
        )

    def split(self, table: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """The paper's 13 settings of HELP, and its 6 unseen ones; all of other tables."""
        return (tuple(PAPER_SEARCH), tuple(PAPER_UNSEEN)) if table == HELP else (None, ())


def load_help(folder: Path, architectures: Sequence[str]) -> CostTable:
    """HELP's latencies in ms (Lee et al., NeurIPS 2021): one list of `architectures`' latencies per `*.pt` file."""
    files = sorted(Path(folder).glob("*.pt"))
    if not files:
        raise InputError(f"{folder} holds no *.pt files; `modnas-fast data fetch help-latency` brings HELP's")
    return CostTable(
        tuple(architectures), {"latency": "ms"}, {file.stem: _help_list(file, len(architectures)) for file in files}
    )


def _help_list(file: Path, count: int) -> Tensor:
    try:
        values = torch.tensor(torch.load(file, weights_only=True), dtype=torch.float64)
    except Exception as error:  # what the unpickler stumbles over in a damaged file has no common type
        raise InputError(f"{file} is no list of latencies ({str(error).partition(chr(10))[0]})") from None
    if values.shape != (count,) or not _all_positive(values):
        raise InputError(f"{file}: wanted {count} positive latencies, got a tensor of shape {list(values.shape)}")
    return values[:, None]


def _all_positive(values: Tensor) -> bool:
    return bool(((values > 0) & values.isfinite()).all())


def load_hw_nas_bench_360(file: Path, architectures: Sequence[str], task: str = "cifar100") -> CostTable:
    """Latency in ms and energy in mJ measured on boards, devices named `board_framework` (HW-NAS-Bench-360).

    Boards without energy are left out. `task` is cifar100, darcy or ninapro.
    """
    table = pq.read_table(file, filters=[("task", "==", task), ("status", "==", "ok")], partitioning=None)
    if not len(table):
        raise InputError(f"{file}: no measurements for task {task!r}; it has cifar100, darcy and ninapro")
    names = pc.binary_join_element_wise(
        pc.cast(table["device"], pa.string()), pc.cast(table["framework"], pa.string()), "_"
    )
    values = {}
    for name in sorted(pc.unique(names).to_pylist()):
        part = table.filter(pc.equal(names, name)).sort_by("arch_idx")
        columns = [torch.tensor(part[column].to_numpy()) for column in ("lat_ms_median", "energy_mj")]
        costs = torch.stack(columns, dim=-1).double()
        if len(costs) == len(architectures) and bool(costs.isfinite().all()):
            values[name] = costs
    return CostTable(tuple(architectures), {"latency": "ms", "energy": "mJ"}, values)
