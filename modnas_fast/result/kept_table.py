"""The table of a run on a table, kept in its folder: queries answer with it wherever the folder is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing

_QUALITY = "quality"


def keep_table(
    file: Path, architectures: Sequence[str], quality: Tensor | None, costs: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Writes n networks by rename: qualities [n] where they are known, and costs [n] by device and key."""
    columns = {"architecture": pa.array(architectures)}
    if quality is not None:
        columns[_QUALITY] = quality.double().numpy()
    for device, values in costs.items():
        columns |= {_column(device, key): column.double().numpy() for key, column in values.items()}
    with replacing(file) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def kept_qualities(file: Path) -> dict[str, float]:
    """Quality by architecture; empty without the file. Raises InputError where it is damaged."""
    return _read(file, _QUALITY)


def kept_costs(file: Path, device: str, key: str) -> dict[str, float]:
    """Cost on a device by architecture; empty without file or column. Raises InputError where it is damaged."""
    return _read(file, _column(device, key))


def _column(device: str, key: str) -> str:
    return f"{key} on {device}"


def _read(file: Path, name: str) -> dict[str, float]:
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
