"""Devices known by tables of measurements: every network of a space, measured once, by others or by oneself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from modnas_fast.devices.device import Device
from modnas_fast.devices.table_file import TableFile, read_table_file
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.suggestions import did_you_mean
from modnas_fast.spaces import SearchSpace

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


@dataclass(frozen=True)
class CostTable:
    """Costs of n networks on devices.

    `values[device]` is [n, C], float64, one column per entry of `metrics` ({"latency": "ms"}), rows in the order of
    `architectures`, strings of the space.
    """

    architectures: tuple[str, ...]
    metrics: dict[str, str]
    values: dict[str, Tensor]

    def devices(self, space: SearchSpace, search: Sequence[str], unseen: Sequence[str]) -> list[Device]:
        """The named devices, search devices first, embedded by the space's reference networks.

        Raises InputError for an unknown or doubled name, and where a reference network is not in the table.
        """
        names = [*search, *unseen]
        for name in names:
            if name not in self.values:
                hint = did_you_mean(name, self.values)
                raise InputError(f"devices: the table has no {name!r}; {hint}it has {', '.join(self.values)}")
            if names.count(name) > 1:
                raise InputError(f"devices: {name} is named twice; a device is searched or unseen")
        if not search:
            raise InputError("devices: at least one device must be searched")
        rows = self.rows(space.references)
        return [
            Device.from_references(
                name,
                {metric: self.values[name][rows, column].tolist() for column, metric in enumerate(self.metrics)},
                self.metrics,
                "search" if name in search else "unseen",
            )
            for name in names
        ]

    def rows(self, architectures: Sequence[str]) -> Tensor:
        """Row of each network, int64 [len]. Raises InputError for one that is not in the table."""
        row_of = {text: row for row, text in enumerate(self.architectures)}
        try:
            return torch.tensor([row_of[text] for text in architectures], dtype=torch.int64)
        except KeyError as error:
            raise InputError(f"devices: the table has no measurements of {error.args[0]}") from None


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


def load_cost_file(file: Path, space: SearchSpace) -> CostTable:
    """A table of one's own: CSV or parquet with columns `architecture`, `device`, and one per metric and unit.

    Metric columns are named like `latency_ms` or `energy_mj`, in small or large letters; the latency comes first.
    Every device needs the same networks, each once, the space's ten reference networks among them. Names of devices
    are text, whatever they look like. Raises InputError that names the row.
    """
    table = read_table_file(Path(file))
    missing = {"architecture", "device"} - set(table.headings)
    metrics = _metric_columns([name for name in table.headings if name not in ("architecture", "device")])
    if missing or not metrics:
        raise InputError(
            f"{file}: wanted columns architecture, device, latency_ms (and others such as energy_mj), "
            f"got {', '.join(table.headings)}"
        )
    if not table.places:
        raise InputError(f"{file}: wanted a row per network and device below the heading, it has no rows")
    row_of = _row_of(table, space)
    columns = [table.positive_numbers(column) for column in metrics]
    costs = torch.tensor(columns, dtype=torch.float64).T  # [rows, C]
    architectures = tuple(sorted(next(iter(row_of.values()))))
    values = {device: costs[[rows[text] for text in architectures]] for device, rows in row_of.items()}
    return CostTable(architectures, dict(metrics.values()), values)


def _row_of(table: TableFile, space: SearchSpace) -> dict[str, dict[str, int]]:
    """Row by device and architecture. Raises InputError where a device has a network twice or lacks one."""
    parsed: dict[str, str] = {}
    found: dict[str, dict[str, int]] = {}
    for row, (written, device) in enumerate(zip(table.texts("architecture"), table.texts("device"))):
        if written not in parsed:
            try:
                parsed[written] = space.parse(written).text
            except InputError as error:
                raise InputError(f"{table.at(row)}: {error}") from None
        rows, text = found.setdefault(device, {}), parsed[written]
        if text in rows:
            first = table.places[rows[text]]
            raise InputError(f"{table.at(row)}: device {device} has {text} already in {table.place} {first}; keep one")
        rows[text] = row
    for device, rows in found.items():
        for other, others in found.items():
            lacking = next((text for text in others if text not in rows), None)
            if lacking is not None:
                raise InputError(
                    f"{table.file}: device {device} lacks {lacking}, which {other} has in {table.place} "
                    f"{table.places[others[lacking]]}; every device needs the same networks"
                )
    return found


def _metric_columns(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """{column: (metric, unit)}, latency first. Raises InputError where two columns hold one metric."""
    units = {"ms": "ms", "us": "µs", "μs": "µs", "ns": "ns", "s": "s", "mj": "mJ", "j": "J", "mb": "MB", "mw": "mW"}
    split = [(name, *name.rpartition("_")) for name in names]
    known = [(name, metric, units[unit]) for name, metric, _, unit in split if metric and unit in units]
    if len({metric for _, metric, _ in known}) < len(known):
        found = ", ".join(name for name, *_ in known)
        raise InputError(f"devices.table: wanted one column and unit per metric, got {found}")
    known.sort(key=lambda column: column[1] != "latency")
    return {name: (metric, unit) for name, metric, unit in known}
