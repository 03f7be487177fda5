"""Errors of fully trained networks from tables: the truth that a tabular benchmark knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError

#: column of the table by task
NATS_COLUMNS = {
    "cifar10": "CIFAR10TestAccuracy200Epochs",
    "cifar100": "CIFAR100TestAccuracy200Epochs",
    "imagenet16-120": "ImageNetTestAccuracy200Epochs",
}


@dataclass(frozen=True)
class ErrorTable:
    """Test errors in percent per task, float64 [n], rows in the order of `architectures`."""

    architectures: tuple[str, ...]
    errors: dict[str, Tensor]


def load_nats_bench(file: Path) -> ErrorTable:
    """NATS-Bench's topology space (Dong et al. 2021): error after 200 epochs, 100 − accuracy, mean of the runs.

    `file` is a CSV with the columns ArchitectureString and those of NATS_COLUMNS, in benchmark order.
    """
    try:
        table = pyarrow.csv.read_csv(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file} is no CSV table ({error}); `modnas-fast data fetch nats-bench` brings it") from None
    missing = [name for name in ("ArchitectureString", *NATS_COLUMNS.values()) if name not in table.column_names]
    if missing:
        raise InputError(f"{file}: column {missing[0]} is missing; `modnas-fast data fetch nats-bench` brings all")
    return ErrorTable(
        tuple(table["ArchitectureString"].to_pylist()),
        {task: _errors(table, column, file) for task, column in NATS_COLUMNS.items()},
    )


def _errors(table: pa.Table, column: str, file: Path) -> Tensor:
    try:
        errors = 100 - torch.tensor(table[column].cast(pa.float64()).to_numpy())
    except pa.ArrowException:  # words among the numbers
        errors = None
    if errors is None or not bool(((errors >= 0) & (errors <= 100)).all()):
        raise InputError(f"{file}: {column} must be percentages; `modnas-fast data fetch nats-bench` brings them")
    return errors
