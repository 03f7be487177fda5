"""The official benchmark objects as plain tables: accuracies of NATS-Bench, costs of HW-NAS-Bench.

What is read, and nothing else:

- NATS-Bench, topology space: the folder `NATS-tss-v1_0-3ffb9-simple` or `-full` with `meta.pickle.pbz2`, a dictionary
  whose `meta_archs` lists the architecture strings, and one `000123.pickle.pbz2` per network, a dictionary whose
  `"200"` is the state of its runs; or the single file `NATS-tss-v1_0-3ffb9.pickle.pbz2`, a dictionary of `meta_archs`
  and `arch2infos`, which has those dictionaries by index;
- NAS-Bench-201: `NAS-Bench-201-v1_1-096897.pth`, the same with `"full"` in the place of `"200"`;
- HW-NAS-Bench: `HW-NAS-Bench-v1_0.pickle`, whose `["nasbench201"][dataset]` has `config`, dictionaries with
  `arch_str` by index, and `DEVICE_latency` in ms, some `DEVICE_energy` in mJ, numbers by the same index.

The state of a network's runs has `arch_str`, `dataset_seed[dataset]`, the seeds, and `all_results[dataset, seed]`
with `epochs` and `eval_acc1es["PART@EPOCH"]`, the accuracies in % after each epoch, counted from 0.

Nothing in these files is run: pickles go through `modnas_fast.datasets.unpickle`, the .pth through torch's own
restricted reader. The single files need several GB of memory; the folder is read network by network.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.spaces.nb201.official import check_architectures, list_of, load, look_up, number

#: column of the table, data set and part of it, as the benchmark names them
ACCURACIES = (
    ("CIFAR10TestAccuracy200Epochs", "cifar10", "ori-test"),
    ("CIFAR100TestAccuracy200Epochs", "cifar100", "x-test"),
    ("ImageNetTestAccuracy200Epochs", "ImageNet16-120", "x-test"),
)
COSTS = ("architecture", "device", "latency_ms", "energy_mj")
DATASETS = tuple(dataset for _, dataset, _ in ACCURACIES)
EXT = ".pickle.pbz2"

Rows = list[tuple[Any, ...]]


def convert(
    source: Path, out: Path, *, dataset: str | None = None, reporter: Reporter | None = None
) -> tuple[tuple[str, ...], int]:
    """Writes the table of an official benchmark object to `out`, .csv or .parquet; returns its columns and row count.

    NATS-Bench and NAS-Bench-201: one row per network in the benchmark's order, test accuracy in % after 200 epochs,
    mean of the runs, then the architecture string. HW-NAS-Bench: one row per device and network, latency in ms and
    energy in mJ (empty where the device has none), for `dataset` (cifar10 by default) as input.

    Raises InputError for anything that is not of the structure above, and where `out` exists.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"--out: wanted a name that ends in .csv or .parquet, got {out}")
    if out.exists():
        raise InputError(f"--out: {out} exists; delete it or choose another name")
    if dataset is not None and dataset not in DATASETS:
        raise InputError(f"--dataset: wanted one of {', '.join(DATASETS)}, got {dataset!r}")
    columns, rows = _table(source, dataset, reporter or Silent())
    _write(out, columns, rows)
    return columns, len(rows)


def _table(source: Path, dataset: str | None, reporter: Reporter) -> tuple[tuple[str, ...], Rows]:
    """The columns and rows of whatever lies at `source`."""
    if source.is_dir():
        names, info = _archive(source)
    else:
        content = load(source)
        if isinstance(content, dict) and "nasbench201" in content:
            return COSTS, list(_cost_rows(source, content["nasbench201"], dataset or DATASETS[0]))
        names, info = _object(source, content)
    if dataset is not None:
        raise InputError(f"--dataset: {source.name} holds accuracies, which are converted for all data sets at once")
    return (*(column for column, _, _ in ACCURACIES), "ArchitectureString"), _accuracy_rows(names, info, reporter)


Info = Callable[[int], tuple[str, Any]]


def _archive(folder: Path) -> tuple[Sequence[str], Info]:
    """The names of a NATS-Bench folder's networks, and where each one's state is."""
    if not (folder / f"meta{EXT}").is_file():
        raise InputError(f"FILE: {folder} has no meta{EXT}; wanted a folder such as NATS-tss-v1_0-3ffb9-simple")
    names = _names(folder, load(folder / f"meta{EXT}"))

    def info(index: int) -> tuple[str, Any]:
        path = folder / f"{index:06d}{EXT}"
        if not path.is_file():
            raise InputError(f"{folder}: {path.name} is missing; {len(names):,} networks are wanted")
        return str(path), look_up(str(path), load(path), "200")

    return names, info


def _object(source: Path, content: Any) -> tuple[Sequence[str], Info]:
    """The same of a benchmark in a single file."""
    label = str(source)
    names, states = _names(source, content), look_up(label, content, "arch2infos")

    def info(index: int) -> tuple[str, Any]:
        own = f"{label}: network {index}"
        hyper = look_up(own, states, index)
        return own, look_up(own, hyper, "full" if isinstance(hyper, dict) and "full" in hyper else "200")

    return names, info


def _names(source: Path, content: Any) -> Sequence[str]:
    names = list_of(f"{source}: meta_archs", look_up(str(source), content, "meta_archs"))
    check_architectures(str(source), names)
    return names


def _accuracy_rows(names: Sequence[str], info: Info, reporter: Reporter) -> Rows:
    rows: Rows = []
    with reporter.stage("Reading networks", len(names)) as advance:
        for index, name in enumerate(names):
            label, state = info(index)
            if look_up(label, state, "arch_str") != name:
                raise InputError(f"{label}: holds {state['arch_str']!r} instead of {name!r}")
            rows.append((*(_accuracy(label, state, dataset, part) for _, dataset, part in ACCURACIES), name))
            advance(index + 1)
    return rows


def _accuracy(label: str, state: Any, dataset: str, part: str) -> float:
    """Accuracy in % after the last epoch, mean of the runs."""
    seeds = look_up(label, state, "dataset_seed", dataset)
    values = []
    for seed in list_of(f"{label}: seeds of {dataset}", seeds):
        run = look_up(label, state, "all_results", (dataset, seed))
        last = int(number(label, look_up(label, run, "epochs"))) - 1
        values.append(number(label, look_up(label, run, "eval_acc1es", f"{part}@{last}")))
    return float(np.mean(values))


def _cost_rows(source: Path, tables: Any, dataset: str) -> Iterator[tuple[Any, ...]]:
    label = f"{source}: {dataset}"
    table = look_up(label, tables, dataset)
    configs = look_up(label, table, "config")
    count = len(configs if isinstance(configs, dict) else list_of(f"{label}: config", configs))
    names = [look_up(label, configs, index, "arch_str") for index in range(count)]
    check_architectures(label, names)
    devices = [key.removesuffix("_latency") for key in table if isinstance(key, str) and key.endswith("_latency")]
    if not devices:
        raise InputError(f"{label}: no DEVICE_latency in it")
    for device in devices:
        latency = _column(label, table, f"{device}_latency", len(names))
        energy: list[float | None] = [None] * len(names)
        if f"{device}_energy" in table:
            energy = _column(label, table, f"{device}_energy", len(names))
        yield from zip(names, [device] * len(names), latency, energy, strict=True)


def _column(label: str, table: Any, key: str, count: int) -> list[float | None]:
    """Numbers by network; None for what was not measured."""
    values = list_of(f"{label}: {key}", look_up(label, table, key))
    if len(values) != count:
        raise InputError(f"{label}: {key} has not the {count:,} numbers of its networks")
    numbers = [number(f"{label}: {key}", value) for value in values]
    return [value if math.isfinite(value) else None for value in numbers]


def _write(out: Path, columns: Sequence[str], rows: Rows) -> None:
    with replacing(out) as temporary:
        if out.suffix == ".csv":
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([columns, *rows])
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
        pq.write_table(table, temporary)
