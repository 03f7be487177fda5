"""Devices known by tables of measurements, made by others or by oneself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from modnas_fast.devices.device import Device
from modnas_fast.devices.table_file import Names, TableFile, read_table_file
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.suggestions import did_you_mean
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.published import CostTable
from modnas_fast.spaces.rows import RowTable


def devices_of(table: CostTable, space: SearchSpace, search: Sequence[str], unseen: Sequence[str]) -> list[Device]:
    """The named devices of a table, search devices first, embedded by the space's reference networks.

    Raises InputError for an unknown or doubled name, and where a reference network is not in the table.
    """
    check_names(table, search, unseen)
    rows = table.rows(space.references)
    return [
        Device.from_references(
            name,
            {metric: table.values[name][rows, column].tolist() for column, metric in enumerate(table.metrics)},
            table.metrics,
            "search" if name in search else "unseen",
        )
        for name in (*search, *unseen)
    ]


def load_costs(name: str, space: SearchSpace) -> CostTable | RowTable:
    """The table of costs called `name`: one that was published of the space, or a file, see `load_cost_file`.

    Raises InputError where there is none.
    """
    published = space.published.tables if space.published else ()
    if space.published and name in published:
        return space.published.costs(name)
    if not Path(name).is_file():
        names = f"{', '.join(published)} or " if published else ""
        hint = "" if published else space.unpublished
        raise InputError(f"devices.table: wanted {names}a CSV or parquet file, got {name!r}{hint}")
    return load_cost_file(Path(name), space)


def usual_split(
    table: CostTable | RowTable,
    name: str,
    space: SearchSpace,
    search: Sequence[str] | None,
    unseen: Sequence[str] | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the devices searched and of those held out.

    Usual ones that lack a metric of the table are left out.

    Args:
        table: called `name`, of the space.
        search: None: the usual ones of a published table, all of others; less those in `unseen`.
        unseen: None: the usual ones of a published table where `search` is None, else none.

    Raises InputError for names that do not fit.
    """
    usual, held_out = space.published.split(name) if space.published else (None, ())
    if search is None:
        whole = [device for device in table.values if not table.lacking(device)]
        search = [device for device in usual or whole if device in whole and device not in (unseen or ())]
        unseen = [device for device in held_out if device in whole] if unseen is None else unseen
    check_names(table, search, unseen or ())
    return tuple(search), tuple(unseen or ())


def check_names(table: CostTable | RowTable, search: Sequence[str], unseen: Sequence[str]) -> None:
    """Raises InputError for a device that the table has not or that is named twice, and where none is searched."""
    check_devices(list(table.values), search, unseen)
    for name in (*search, *unseen):
        if lacking := table.lacking(name):
            have = [device for device in table.values if not table.lacking(device)]
            raise InputError(f"devices: the table has no {lacking[0]} on {name}; it has it on {', '.join(have)}")


def check_devices(known: Sequence[str], search: Sequence[str], unseen: Sequence[str]) -> None:
    """Raises InputError for a device that is not known or that is named twice, and where none is searched."""
    names = [*search, *unseen]
    for name in names:
        if name not in known:
            raise InputError(
                f"devices: the table has no {name!r}; {did_you_mean(name, known)}it has {', '.join(known)}"
            )
        if names.count(name) > 1:
            raise InputError(f"devices: {name} is named twice; a device is searched or unseen")
    if not search:
        raise InputError("devices: at least one device must be searched")


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
    architectures, row_of = _row_of(table, space)
    columns = [table.positive_numbers(column) for column in metrics]
    costs = torch.from_numpy(np.stack(columns, axis=-1))  # [rows, C]
    values = {device: costs[torch.from_numpy(rows)] for device, rows in row_of.items()}
    return CostTable(architectures, dict(metrics.values()), values)


def _row_of(table: TableFile, space: SearchSpace) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Networks in the order of their strings, and the row of each by device.

    Raises InputError where a device has a network twice or lacks one.
    """
    networks, devices = _networks(table, space), table.names("device")
    rows = np.full((len(devices.distinct), len(networks.distinct)), -1)
    cells = devices.codes * rows.shape[1] + networks.codes
    _, first = np.unique(cells, return_index=True)
    if len(first) < len(cells):
        row = int(np.setdiff1d(np.arange(len(cells)), first)[0])
        device, text = devices.distinct[devices.codes[row]], networks.distinct[networks.codes[row]]
        before = table.places[int(np.flatnonzero(cells == cells[row])[0])]
        raise InputError(f"{table.at(row)}: device {device} has {text} already in {table.place} {before}; keep one")
    rows[devices.codes, networks.codes] = np.arange(len(cells))
    if (rows < 0).any():
        raise InputError(_what_lacks(table, devices.distinct, networks.distinct, rows))
    order = sorted(range(len(networks.distinct)), key=networks.distinct.__getitem__)
    found = {device: rows[place][order] for place, device in enumerate(devices.distinct)}
    return tuple(networks.distinct[place] for place in order), found


def _networks(table: TableFile, space: SearchSpace) -> Names:
    """The networks of the rows, by their strings in the space. Raises InputError that names a row without one."""
    written = table.names("architecture")
    place: dict[str, int] = {}
    codes = []
    for row, text in zip(written.first_rows(), written.distinct, strict=True):
        try:
            codes.append(place.setdefault(space.parse(text).text, len(place)))
        except InputError as error:
            raise InputError(f"{table.at(row)}: {error}") from None
    return Names(list(place), np.array(codes, np.int64)[written.codes])


def _what_lacks(table: TableFile, devices: Sequence[str], networks: Sequence[str], rows: NDArray[np.int64]) -> str:
    """Which device lacks the network that another has first."""
    device = int(np.flatnonzero((rows < 0).any(axis=1))[0])
    other = next(place for place in range(len(devices)) if ((rows[place] >= 0) & (rows[device] < 0)).any())
    lacking = np.flatnonzero((rows[other] >= 0) & (rows[device] < 0))
    network = int(lacking[rows[other][lacking].argmin()])
    return (
        f"{table.file}: device {devices[device]} lacks {networks[network]}, which {devices[other]} has in "
        f"{table.place} {table.places[int(rows[other, network])]}; every device needs the same networks"
    )


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
