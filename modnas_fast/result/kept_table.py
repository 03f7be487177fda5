"""The table of a run on a table, kept in its folder: queries answer with it wherever the folder is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing

_COST = "cost: "


def keep_table(file: Path, architectures: Sequence[str], errors: Tensor, costs: dict[str, Tensor]) -> None:
    """Writes errors in percent [n] and one cost per device [n] of n networks, by rename."""
    columns = {"architecture": pa.array(architectures), "error": errors.double().numpy()}
    columns |= {_COST + device: values.double().numpy() for device, values in costs.items()}
    with replacing(file) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def kept_errors(file: Path) -> dict[str, float]:
    """Error in percent by architecture; empty without the file. Raises InputError where it is damaged."""
    return _column(file, "error")


def kept_costs(file: Path, device: str) -> dict[str, float]:
    """Cost on a device by architecture; empty without file or device. Raises InputError where it is damaged."""
    return _column(file, _COST + device)


def _column(file: Path, name: str) -> dict[str, float]:
    if not file.exists():
        return {}
    try:
        if name not in pq.read_schema(file).names:
            return {}
        table = pq.read_table(file, columns=["architecture", name])
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"{file} is damaged ({first}); delete it, and answers are predicted") from None
    return dict(zip(table["architecture"].to_pylist(), table[name].to_pylist()))
