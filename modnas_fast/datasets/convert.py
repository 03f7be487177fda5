"""The official benchmark objects as plain tables: accuracies of NATS-Bench, costs of HW-NAS-Bench.

What is read, and nothing else:

- NATS-Bench, topology space: the folder `NATS-tss-v1_0-3ffb9-simple` or `-full` with `meta.pickle.pbz2`, a dictionary
  whose `meta_archs` lists the architecture strings, and one `000123.pickle.pbz2` per network, a dictionary whose
  `"200"` is the state of its runs; or the single file `NATS-tss-v1_0-3ffb9.pickle.pbz2`, a dictionary of `meta_archs`
  and `arch2infos`, which has those dictionaries by index;
- NAS-Bench-201: `NAS-Bench-201-v1_1-096897.pth`, the same with `"full"` in the place of `"200"`;
- HW-NAS-Bench: `HW-NAS-Bench-v1_0.pickle`, whose `["nasbench201"][dataset]` has `config`, dictionaries with
  `arch_str` by index, and `DEVICE_latency` in ms, some `DEVICE_energy` in mJ, numbers by the same index.

The state of a network's runs has `arch_str`, `dataset_seed[dataset]`, the seeds, and `all_results[dataset, seed]` with
`epochs` and `eval_acc1es["PART@EPOCH"]`, the accuracies in % after each epoch, counted from 0.

Nothing in these files is run: pickles go through `modnas_fast.datasets.unpickle`, the .pth through torch's own
restricted reader.
"""

from __future__ import annotations

import bz2
import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from modnas_fast.datasets.unpickle import ALLOWED, load_plain
from modnas_fast.errors import InputError
from modnas_fast.files import replacing
from modnas_fast.progress import Reporter, Silent

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
        content = _load(source)
        if isinstance(content, dict) and "nasbench201" in content:
            return COSTS, list(_cost_rows(source, content["nasbench201"], dataset or DATASETS[0]))
        names, info = _object(source, content)
    if dataset is not None:
        raise InputError(f"--dataset: {source.name} holds accuracies, which are converted for all data sets at once")
    return (*(column for column, _, _ in ACCURACIES), "ArchitectureString"), _accuracy_rows(names, info, reporter)


def _load(source: Path) -> Any:
    """The plain value in a file, by its kind."""
    try:
        with open(source, "rb") as file:
            start = file.read(3)
    except FileNotFoundError:
        raise InputError(f"FILE: {source} does not exist") from None
    if start == b"BZh":
        with bz2.open(source) as file:
            return load_plain(file, str(source))
    if source.suffix in (".pth", ".pt"):
        return _load_torch(source)
    with open(source, "rb") as file:
        return load_plain(file, str(source))


def _load_torch(source: Path) -> Any:
    import torch

    stand_ins = [(function, ".".join(name)) for name, function in ALLOWED.items() if name[0].startswith("numpy")]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(source, map_location="cpu", weights_only=True)
    except UnpicklingError:  # torch's own text recommends to trust the file
        raise InputError(f"{source} is refused: it holds more than plain data and tensors") from None
    except (RuntimeError, EOFError, InputError):
        raise InputError(f"{source} is no readable torch file") from None


Info = Callable[[int], tuple[str, Any]]


def _archive(folder: Path) -> tuple[Sequence[str], Info]:
    """The names of a NATS-Bench folder's networks, and where each one's state is."""
    if not (folder / f"meta{EXT}").is_file():
        raise InputError(f"FILE: {folder} has no meta{EXT}; wanted a folder such as NATS-tss-v1_0-3ffb9-simple")
    names = _names(folder, _load(folder / f"meta{EXT}"))

    def info(index: int) -> tuple[str, Any]:
        path = folder / f"{index:06d}{EXT}"
        if not path.is_file():
            raise InputError(f"{folder}: {path.name} is missing; {len(names):,} networks are wanted")
        return str(path), _get(str(path), _load(path), "200")

    return names, info


def _object(source: Path, content: Any) -> tuple[Sequence[str], Info]:
    """The same of a benchmark in a single file."""
    label = str(source)
    names, states = _names(source, content), _get(label, content, "arch2infos")

    def info(index: int) -> tuple[str, Any]:
        own = f"{label}: network {index}"
        hyper = _get(own, states, index)
        return own, _get(own, hyper, "full" if isinstance(hyper, dict) and "full" in hyper else "200")

    return names, info


def _names(source: Path, content: Any) -> Sequence[str]:
    names = _list(f"{source}: meta_archs", _get(str(source), content, "meta_archs"))
    _check_architectures(str(source), names)
    return names


def _check_architectures(label: str, names: Sequence[str]) -> None:
    from modnas_fast.spaces import NB201Space

    space = NB201Space()
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{label}: wanted architecture strings, got {name!r}")
        try:
            space.parse(name)
        except InputError as error:
            raise InputError(f"{label}: {error}") from None


def _accuracy_rows(names: Sequence[str], info: Info, reporter: Reporter) -> Rows:
    rows: Rows = []
    with reporter.stage("Reading networks", len(names)) as advance:
        for index, name in enumerate(names):
            label, state = info(index)
            if _get(label, state, "arch_str") != name:
                raise InputError(f"{label}: holds {state['arch_str']!r} instead of {name!r}")
            rows.append((*(_accuracy(label, state, dataset, part) for _, dataset, part in ACCURACIES), name))
            advance(index + 1)
    return rows


def _accuracy(label: str, state: Any, dataset: str, part: str) -> float:
    """Accuracy in % after the last epoch, mean of the runs."""
    seeds = _get(label, state, "dataset_seed", dataset)
    values = []
    for seed in _list(f"{label}: seeds of {dataset}", seeds):
        run = _get(label, state, "all_results", (dataset, seed))
        last = int(_number(label, _get(label, run, "epochs"))) - 1
        values.append(_number(label, _get(label, run, "eval_acc1es", f"{part}@{last}")))
    return float(np.mean(values))


def _cost_rows(source: Path, tables: Any, dataset: str) -> Iterator[tuple[Any, ...]]:
    label = f"{source}: {dataset}"
    table = _get(label, tables, dataset)
    configs = _get(label, table, "config")
    count = len(configs if isinstance(configs, dict) else _list(f"{label}: config", configs))
    names = [_get(label, configs, index, "arch_str") for index in range(count)]
    _check_architectures(label, names)
    devices = [key.removesuffix("_latency") for key in table if str(key).endswith("_latency")]
    if not devices:
        raise InputError(f"{label}: no DEVICE_latency in it")
    for device in devices:
        latency = _column(label, table, f"{device}_latency", len(names))
        energy = [None] * len(names)
        if f"{device}_energy" in table:
            energy = _column(label, table, f"{device}_energy", len(names))
        yield from zip(names, [device] * len(names), latency, energy, strict=True)


def _column(label: str, table: Any, key: str, count: int) -> list[float | None]:
    """Numbers by network; None for what was not measured."""
    values = _list(f"{label}: {key}", _get(label, table, key))
    if len(values) != count:
        raise InputError(f"{label}: {key} has not the {count:,} numbers of its networks")
    numbers = [_number(f"{label}: {key}", value) for value in values]
    return [number if math.isfinite(number) else None for number in numbers]


def _list(label: str, value: Any) -> list:
    if not isinstance(value, list) or not value:
        raise InputError(f"{label}: wanted a list, got {type(value).__name__ if value else 'nothing'}")
    return value


def _number(label: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{label}: wanted a number, got {type(value).__name__}")
    return float(value)


def _get(label: str, value: Any, *keys: Any) -> Any:
    """value[key][key]…; raises InputError that names the first key which is not there."""
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            raise InputError(
                f"{label}: no {key!r} in it; wanted NATS-Bench (topology), NAS-Bench-201 v1.1 or HW-NAS-Bench"
            ) from None
    return value


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
