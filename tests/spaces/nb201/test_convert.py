"""The official objects, built small in their real structure, as tables; and pickles that must not be run."""

from __future__ import annotations

import bz2
import csv
import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from modnas_fast.datasets.unpickle import load_plain
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.convert import convert

DATA = os.environ.get("MODNAS_DATA")
NAMES = list(NB201Space.references[:3])
SEEDS = {"cifar10-valid": [777], "cifar10": [777, 888, 999], "cifar100": [777, 888], "ImageNet16-120": [777]}
PART = {"cifar10-valid": "x-valid", "cifar10": "ori-test", "cifar100": "x-test", "ImageNet16-120": "x-test"}
HEADER = [
    "CIFAR10TestAccuracy200Epochs",
    "CIFAR100TestAccuracy200Epochs",
    "ImageNetTestAccuracy200Epochs",
    "ArchitectureString",
]


def accuracy(index: int, dataset: str, seed: int, epoch: int) -> float:
    return 10 * index + len(dataset) + seed / 1000 + epoch / 7


def run(index: int, dataset: str, seed: int, epochs: int, weights: bool) -> dict[str, Any]:
    """The state of one training, with every key that the benchmark's own class saves."""
    curve = {epoch: accuracy(index, dataset, seed, epoch) for epoch in range(epochs)}
    evaluated = {f"{PART[dataset]}@{epoch}": value for epoch, value in curve.items()}
    return {
        "name": "infer.tiny",
        "net_state_dict": OrderedDict(w=torch.randn(2, 3)) if weights else None,
        "train_acc1es": curve,
        "train_acc5es": curve,
        "train_losses": OrderedDict(curve),
        "train_times": None,
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": NAMES[index], "class_num": 10},
        "params": np.float64(0.5),
        "flop": 47.1,
        "seed": seed,
        "epochs": epochs,
        "latency": [0.01],
        "eval_names": [PART[dataset]],
        "eval_acc1es": evaluated,
        "eval_times": {},
        "eval_losses": dict(evaluated),
    }


def state(index: int, epochs: int, weights: bool = False) -> dict[str, Any]:
    pairs = [(dataset, seed) for dataset, seeds in SEEDS.items() for seed in seeds]
    return {
        "arch_index": index,
        "arch_str": NAMES[index],
        "all_results": {pair: run(index, *pair, epochs, weights) for pair in pairs},
        "dataset_seed": SEEDS,
        "clear_net_done": True,
    }


def nats(weights: bool = False) -> dict[str, Any]:
    infos = {i: OrderedDict({"12": state(i, 12), "200": state(i, 200, weights)}) for i in range(3)}
    return {"meta_archs": NAMES, "arch2infos": infos, "evaluated_indexes": {0, 1, 2}}


def write_pickle(path: Path, value: Any, protocol: int = 4) -> Path:
    opener = bz2.open if path.suffix == ".pbz2" else open
    with opener(path, "wb") as file:
        pickle.dump(value, file, protocol)
    return path


def nats_file(folder: Path) -> Path:
    return write_pickle(folder / "NATS-tss-v1_0-3ffb9.pickle.pbz2", nats())


def nats_folder(folder: Path, weights: bool = False) -> Path:
    path = folder / "NATS-tss-v1_0-3ffb9-full"
    path.mkdir()
    content = nats(weights)
    write_pickle(path / "meta.pickle.pbz2", {key: content[key] for key in ("meta_archs", "evaluated_indexes")})
    for index, info in content["arch2infos"].items():
        write_pickle(path / f"{index:06d}.pickle.pbz2", info)
    return path


def nats_folder_with_weights(folder: Path) -> Path:
    return nats_folder(folder, weights=True)


def nb201_file(folder: Path, legacy: bool = False) -> Path:
    content = nats()
    content["arch2infos"] = {i: {"less": v["12"], "full": v["200"]} for i, v in content["arch2infos"].items()}
    path = folder / "NAS-Bench-201-v1_1-096897.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def nb201_file_of_2020(folder: Path) -> Path:
    return nb201_file(folder, legacy=True)


@pytest.mark.parametrize("make", [nats_file, nats_folder, nats_folder_with_weights, nb201_file, nb201_file_of_2020])
def test_accuracies(make: Callable[[Path], Path], tmp_path: Path) -> None:
    columns, count = convert(make(tmp_path), tmp_path / "out.csv")
    assert list(columns) == HEADER and count == 3
    with open(tmp_path / "out.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["ArchitectureString"] for row in table] == NAMES
    for index, row in enumerate(table):
        for column, dataset in zip(HEADER, ("cifar10", "cifar100", "ImageNet16-120")):
            last = [accuracy(index, dataset, seed, 199) for seed in SEEDS[dataset]]
            assert float(row[column]) == np.mean(last)


@pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published table to compare")
def test_the_published_table_has_the_same_columns() -> None:
    with open(Path(str(DATA)) / "nb201" / "nats_bench.csv", newline="") as file:
        assert next(csv.reader(file))[:4] == HEADER


def costs(as_array: bool = True) -> dict[str, Any]:
    """HW-NAS-Bench of three networks: two devices, one without energy."""

    def table(factor: float) -> dict[str, Any]:
        values = {
            "edgegpu_latency": [5.8 * factor, 6.0, 7.0],
            "edgegpu_energy": [24.2, 25.0, 26.0],
            "edgetpu_latency": [0.95, float("nan"), 1.5],
            "eyeriss_arithmetic_intensity": [1.0, 2.0, 3.0],
        }
        config = [{"name": "infer.tiny", "C": 16, "N": 5, "arch_str": name, "num_classes": 10} for name in NAMES]
        arrays = {key: np.array(value) for key, value in values.items()}
        return {"config": config, **(arrays if as_array else {k: list(v) for k, v in arrays.items()})}

    return {"nasbench201": {"cifar10": table(1), "cifar100": table(2)}, "fbnet": {"edgegpu_latency": {"a": 1.0}}}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("as_array", [True, False])
def test_costs(tmp_path: Path, protocol: int, as_array: bool) -> None:
    source = write_pickle(tmp_path / "HW-NAS-Bench-v1_0.pickle", costs(as_array), protocol)
    assert convert(source, tmp_path / "out.csv") == (("architecture", "device", "latency_ms", "energy_mj"), 6)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[:3] == [
        "architecture,device,latency_ms,energy_mj",
        f"{NAMES[0]},edgegpu,5.8,24.2",
        f"{NAMES[1]},edgegpu,6.0,25.0",
    ]
    assert lines[4:] == [f"{NAMES[0]},edgetpu,0.95,", f"{NAMES[1]},edgetpu,,", f"{NAMES[2]},edgetpu,1.5,"]


def test_costs_as_parquet_on_another_data_set(tmp_path: Path) -> None:
    content = costs()
    table = content["nasbench201"]["cifar100"]
    table["config"] = dict(enumerate(table["config"]))  # by index, as some copies have it
    source = write_pickle(tmp_path / "costs.pickle", content)
    convert(source, tmp_path / "out.parquet", dataset="cifar100")
    written = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert written[0] == {"architecture": NAMES[0], "device": "edgegpu", "latency_ms": 11.6, "energy_mj": 24.2}
    assert written[3] == {"architecture": NAMES[0], "device": "edgetpu", "latency_ms": 0.95, "energy_mj": None}


def without(*keys: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in keys[:-1]:
            value = value[key]
        del value[keys[-1]]

    return change


def setting(new: Any, *keys: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in keys[:-1]:
            value = value[key]
        value[keys[-1]] = new

    return change


PIXEL, RUN = ("nasbench201", "cifar10"), ("arch2infos", 1, "200", "all_results", ("cifar10", 888))


@pytest.mark.parametrize(
    ("content", "change", "text"),
    [
        (nats, without("arch2infos"), "no 'arch2infos' in it; wanted NATS-Bench"),
        (nats, without("arch2infos", 2), "no 2 in it"),
        (nats, without("arch2infos", 2, "200"), "network 2: no '200' in it"),
        (nats, without(*RUN), r"network 1: no \('cifar10', 888\) in it"),
        (nats, setting([], "arch2infos", 1, "200", "dataset_seed"), "network 1: no 'cifar10' in it"),
        (nats, setting("99", *RUN, "eval_acc1es", "ori-test@199"), "network 1: wanted a number, got str"),
        (nats, setting(NAMES[2], "arch2infos", 1, "200", "arch_str"), "instead of"),
        (nats, setting(["nonsense"], "meta_archs"), "'nonsense' in 'nonsense' does not fit"),
        (nats, setting([], "meta_archs"), "meta_archs: wanted a list, got nothing"),
        (nats, setting([1], "meta_archs"), "wanted architecture strings, got 1"),
        (costs, without(*PIXEL), "no 'cifar10' in it"),
        (costs, without(*PIXEL, "config"), "no 'config' in it"),
        (costs, without(*PIXEL, "config", 0, "arch_str"), "no 'arch_str' in it"),
        (costs, setting(3, *PIXEL, "config"), "config: wanted a list, got int"),
        (costs, setting([1.0], *PIXEL, "edgetpu_latency"), "edgetpu_latency has not the 3 numbers"),
        (costs, setting([1.0, None, 2.0], *PIXEL, "edgetpu_latency"), "wanted a number, got NoneType"),
        (lambda: {"some": 1}, lambda value: None, "no 'meta_archs' in it; wanted NATS-Bench"),
        (lambda: [1, 2], lambda value: None, "no 'meta_archs' in it; wanted NATS-Bench"),
    ],
)
def test_other_structures_are_refused(
    content: Callable[[], Any], change: Callable[[Any], None], text: str, tmp_path: Path
) -> None:
    value = content()
    change(value)
    source = write_pickle(tmp_path / "object.pickle", pickle.loads(pickle.dumps(value)))
    with pytest.raises(InputError, match=text) as error:
        convert(source, tmp_path / "out.csv")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_that_lacks_files_is_refused(tmp_path: Path) -> None:
    folder = nats_folder(tmp_path)
    (folder / "000001.pickle.pbz2").unlink()
    with pytest.raises(InputError, match="000001.pickle.pbz2 is missing; 3 networks are wanted"):
        convert(folder, tmp_path / "out.csv")
    (folder / "meta.pickle.pbz2").unlink()
    with pytest.raises(InputError, match="has no meta.pickle.pbz2; wanted a folder such as NATS-tss"):
        convert(folder, tmp_path / "out.csv")


def test_options_are_checked_first(tmp_path: Path) -> None:
    source = nats_file(tmp_path)
    with pytest.raises(InputError, match="--out: wanted a name that ends in .csv or .parquet"):
        convert(source, tmp_path / "out.xlsx")
    with pytest.raises(InputError, match="--dataset: wanted one of cifar10, cifar100, ImageNet16-120, got 'mnist'"):
        convert(source, tmp_path / "out.csv", dataset="mnist")
    with pytest.raises(InputError, match="holds accuracies"):
        convert(source, tmp_path / "out.csv", dataset="cifar10")
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(InputError, match="exists; delete it"):
        convert(source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"


class Hostile:
    """Pickles to a call."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def save_torch(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


@pytest.mark.parametrize("name", ["object.pickle", "object.pickle.pbz2", "object.pth"])
@pytest.mark.parametrize("function", [os.mkdir, eval], ids=["a function of os", "a builtin"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, name: str, function: Callable) -> None:
    marker = tmp_path / "was run"
    argument = str(marker) if function is os.mkdir else f"__import__('os').mkdir({str(marker)!r})"
    value = {**nats(), "extra": Hostile(function, argument)}
    source = (save_torch if name.endswith("pth") else write_pickle)(tmp_path / name, value)
    wanted = "refused: it (wants to run (posix.mkdir|builtins.eval)|holds more)"
    with pytest.raises(InputError, match=wanted) as error:
        convert(source, tmp_path / "out.csv")
    assert len(str(error.value).splitlines()) == 1
    assert not marker.exists() and not (tmp_path / "out.csv").exists()
    if source.suffix == ".pickle":  # the same file does run where pickle is trusted: the test can fail
        pickle.loads(source.read_bytes())
        assert marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"neither",
        b"\x80\x04}\x94",
        b"cnumpy\ndtype\n(S'V8'\ntR.",
        b"cnumpy\ndtype\n(S'f8,O'\ntR.",
        b"cbuiltins\nset.__init__\n.",
        b"Pid\n.",
        pickle.dumps(print),
    ],
)
def test_damaged_and_unknown_content_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="^file (is refused: |is no readable pickle)"):
        load_plain(io.BytesIO(content), "file")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    source = nats_file(tmp_path)
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(InputError, match="no readable pickle of plain data"):
        convert(source, tmp_path / "out.csv")
    broken = tmp_path / "object.pth"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="object.pth is no readable torch file"):
        convert(broken, tmp_path / "out.csv")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_tensors_become_plain(protocol: int) -> None:
    value = {
        "f8": np.arange(3.0),
        "f4": np.arange(3, dtype=np.float32),
        "big-endian": np.arange(3, dtype=">i2"),
        "bool": np.array([True, False]),
        "objects": np.array([1, "x", None], dtype=object),
        "flat": np.arange(4).reshape(2, 2),
        "scalar": np.float32(0.5),
        "ordered": OrderedDict(a=1),
        "set": {1},
        "tensor": torch.ones(2),
        "weights": torch.nn.Linear(2, 2).state_dict(),
    }
    assert load_plain(io.BytesIO(pickle.dumps(value, protocol)), "file") == {
        "f8": [0.0, 1.0, 2.0],
        "f4": [0.0, 1.0, 2.0],
        "big-endian": [0, 1, 2],
        "bool": [True, False],
        "objects": [1, "x", None],
        "flat": [0, 1, 2, 3],
        "scalar": 0.5,
        "ordered": OrderedDict(a=1),
        "set": {1},
        "tensor": None,
        "weights": OrderedDict(weight=None, bias=None),
    }
