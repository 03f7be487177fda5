"""The raw files of HW-GPT-Bench as one table per scale: an .npz of plain arrays.

A raw file is a pickled list of records, read by `datasets.unpickle`, which runs nothing. Each has `arch`, the network,
and by the name of its folder, with the scale m or l behind it:

- `latency_DEVICE/efficiency_observations_A_B`: the times of a forward pass, ten repeats with a unit each; FLOPs, MACs
  and parameters; on CPUs the energy, in Wh;
- `latency_DEVICE/efficiency_energy_observations_tracker_A_B`, of GPUs: energies of fifty repeats, in Wh whatever their
  label says, and the power in W;
- `mem_DEVICE/efficiency_observations_A_B`: the memory in MB;
- `arch_ppl_bench_SCALE/ppl_observations_tracker_A_B`: perplexity and accuracy with inherited weights.

Rows are in the order of the latency files of the P100. Networks that those do not have are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modnas_fast.datasets.unpickle import load_plain
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces.gpt.scales import SCALES

#: devices by folder
FOLDERS = {
    "latency_a100": "a100",
    "latency_a40": "a40",
    "latency_h100": "h100",
    "latency_rtx2080": "rtx2080",
    "latency_rtx3080": "rtx3080",
    "latency_a6000": "a6000",
    "latency_v100": "v100",
    "latency_P100": "P100",
    "latency_cpu_mlgpu": "cpu_xeon_silver",
    "latency_cpu_meta": "cpu_xeon_gold",
    "latency_cpu_alldlc": "cpu_amd_7502",
    "latency_helix_cpu": "cpu_amd_7513",
    "latency_cpu_a6000": "cpu_amd_7452",
}
#: the device whose latency files give networks and their order
LEADER = "P100"
DEVICES = tuple(FOLDERS.values())
#: number format of the memory measured in each folder
MEMORY = {"mem_a100": "bfloat16", "mem_rtx2080": "float16"}
#: milliseconds
UNITS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
REPEATS = 10
_NAME = re.compile(
    r"(?P<folder>arch_ppl_bench|latency_\w+?|mem_\w+?)(?:_(?P<scale>[sml]))?\+(?P<kind>\w+?)_(?P<first>\d+)_\d+"
)

#: what a network is known by: width, MLP ratios, heads, bias
Key = tuple[int, tuple[int, ...], tuple[int, ...], bool]
Record = dict[str, Any]


class RawFile(NamedTuple):
    """A raw file by its name: `FOLDER[_SCALE]+KIND_A_B.pkl`."""

    path: Path
    folder: str
    scale: str
    kind: str
    first: int

    @property
    def order(self) -> tuple[bool, str, str, int]:
        """What files are read by: those that give the order of the networks come first."""
        return (not self.leads, self.folder, self.kind, self.first)

    @property
    def leads(self) -> bool:
        """Whether it gives networks and their order."""
        return FOLDERS.get(self.folder) == LEADER and self.kind == "efficiency_observations"


def raw_file(path: Path) -> RawFile | None:
    """A raw file by its name; None for a file of another kind."""
    match = _NAME.fullmatch(path.stem)
    if match is None or path.suffix != ".pkl" or match["folder"] not in {"arch_ppl_bench", *FOLDERS, *MEMORY}:
        return None
    return RawFile(path, match["folder"], match["scale"] or "s", match["kind"], int(match["first"]))


def raw_files(folder: Path) -> dict[str, list[RawFile]]:
    """The raw files in a folder by scale."""
    found: dict[str, list[RawFile]] = {}
    for file in filter(None, map(raw_file, sorted(folder.glob("*.pkl")))):
        found.setdefault(file.scale, []).append(file)
    return found


def convert(folder: Path, out: Path | None, *, scale: str | None, reporter: Reporter) -> str:
    """Writes the table of a folder's raw files; what was written, in words.

    Args:
        folder: of the raw files, and of `perplexity_SCALE.pt`, there or one folder above.
        out: the .npz; None: `hw_gpt_bench_SCALE.npz` in the working folder.
        scale: s, m or l; None: that of all raw files.
        reporter: where progress is told.

    Raises InputError where `out` exists or has another ending, and where the scale is not clear.
    """
    found = raw_files(folder)
    if scale is None and len(found) == 1:
        (scale,) = found
    if scale is None or scale not in found:
        raise InputError(f"--dataset: {folder} holds the scales {', '.join(sorted(found))}; name one of them")
    out = out or Path(f"hw_gpt_bench_{scale}.npz")
    if out.suffix != ".npz":
        raise InputError(f"--out: wanted a name that ends in .npz, got {out}")
    if out.exists():
        raise InputError(f"--out: {out} exists; delete it or choose another name")
    net = f"perplexity_{scale}.pt"
    nets = [place / net for place in (folder, folder.parent) if (place / net).is_file()]
    if not nets:
        raise InputError(f"FILE: {folder} has no {net}; modnas-fast data fetch hw-gpt-bench-{scale} brings it")
    paths = [*(file.path for file in found[scale]), nets[0]]
    with reporter.stage("Reading raw files", len(paths)) as advance:
        convert_scale(paths, "converted from files of one's own", out, advance)
    with np.load(out, allow_pickle=False) as table:
        return f"{out}: {len(table['params']):,} networks with {', '.join(table.files)}"


def convert_scale(
    raw: Sequence[Path], origin: str, out: Path, advance: Callable[[int], None] = lambda done: None
) -> None:
    """Writes the table of one scale to `out`, by rename; the files are read one by one.

    Args:
        raw: all raw files of the scale, and, as `perplexity_SCALE.pt`, the network that judges perplexities.
        origin: where they come from, kept in the table.
        out: the .npz.
        advance: gets the number of files read.

    Raises InputError for a file that is not as described, and where networks lack what the table tells of them.
    """
    files = sorted(filter(None, map(raw_file, raw)), key=lambda file: file.order)
    scales = {file.scale for file in files}
    if len(scales) != 1:
        raise InputError(f"{out.name}: wanted raw files of one scale, got {', '.join(sorted(scales)) or 'none'}")
    (scale,) = scales
    table = Table(scale)
    for done, file in enumerate(files, 1):
        table.add(file, read_records(file.path))
        advance(done)
    table.check()
    net = next(path for path in raw if path.name == f"perplexity_{scale}.pt")
    arrays: dict[str, Any] = {
        **table.arrays,
        "perplexity_mlp": _judged(net, scale, table.arrays),
        "origin": np.array(origin),
    }
    with replacing(out) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)
    advance(len(raw))


def _judged(net: Path, scale: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    from modnas_fast.spaces.gpt.judge import PerplexityNet
    from modnas_fast.spaces.gpt.space import GPTSpace
    from modnas_fast.spaces.gpt.table import texts_of

    space = GPTSpace(scale)
    onehot = space.encode([space.parse(text) for text in texts_of(arrays)])
    return PerplexityNet.load(net, space)(onehot).numpy().astype(np.float32)


def read_records(path: Path) -> list[Record]:
    """The records of a raw file."""
    with open(path, "rb") as stream:
        records = load_plain(stream, str(path))
    if not isinstance(records, list) or not all(isinstance(r, dict) and "arch" in r for r in records):
        raise InputError(f"{path}: wanted a list of records with `arch`")
    return records


def key_of(arch: Record) -> Key:
    """The network of a record, without what stands behind its depth."""
    depth = arch["sample_n_layer"]
    bias = arch["sample_bias"]
    return (
        arch["sample_embed_dim"],
        tuple(arch["sample_mlp_ratio"][:depth]),
        tuple(arch["sample_n_head"][:depth]),
        bias if isinstance(bias, bool) else bias == "True",
    )


class Table:
    """The arrays of one scale, filled file by file.

    Args:
        scale: s, m or l.
        networks: those known before any file gives some.
    """

    def __init__(self, scale: str, networks: Sequence[Key] = ()) -> None:
        self._layers = SCALES[scale].layers
        self._row_of: dict[Key, int] = {key: row for row, key in enumerate(networks)}
        self.arrays: dict[str, np.ndarray] = {"device": np.array(DEVICES)}

    def add(self, file: RawFile, records: Sequence[Record]) -> None:
        """Takes in the records of a file."""
        try:
            if file.leads:
                for record in records:
                    self._row_of.setdefault(key_of(record["arch"]), len(self._row_of))
            self._fill(file, records)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{file.path}: a record lacks or garbles {error}") from None

    def _fill(self, file: RawFile, records: Sequence[Record]) -> None:
        if file.folder == "arch_ppl_bench":
            for row, record in self._known(records):
                self._put("perplexity", row, record["perplexity"])
                self._put("accuracy", row, record["accuracy"])
        elif file.folder in MEMORY:
            for row, record in self._known(records):
                self._put(f"{MEMORY[file.folder]}_memory_mb", row, record["mean_mem"])
        elif "energy" in file.kind:
            self._fill_energies(DEVICES.index(FOLDERS[file.folder]), records)
        else:
            self._fill_latencies(FOLDERS[file.folder], records)

    def _fill_energies(self, device: int, records: Sequence[Record]) -> None:
        for row, record in self._known(records):
            energy = np.array(record["energy_gpu"], float)
            self._put("energy_wh_mean", (device, row), energy.mean())
            self._put("energy_wh_std", (device, row), energy.std())
            self._put("energy_wh_median", (device, row), np.median(energy))
            self._put("power_w_median", (device, row), np.median(np.array(record["emissions_gpu"], float)))

    def _fill_latencies(self, device: str, records: Sequence[Record]) -> None:
        place, kind = DEVICES.index(device), "cpu" if device.startswith("cpu") else "gpu"
        for row, record in self._known(records):
            times = _milliseconds(record[f"times_profiler_{kind}"], record[f"unit_{kind}"])
            self._put("latency_ms", (place, row, slice(0, len(times))), times)
            if kind == "cpu":
                self._put("energy_wh_mean", (place, row), record["mean_energy_cpu"])
                self._put("energy_wh_std", (place, row), record["std_energy_cpu"])
            elif device == LEADER:
                self._put_network(row, record)

    def _put_network(self, row: int, record: Record) -> None:
        width, ratios, heads, bias = key_of(record["arch"])
        self._put("embed_dim", row, width)
        self._put("n_layer", row, len(ratios))
        self._put("bias", row, bias)
        self._put("mlp_ratio", (row, slice(0, len(ratios))), ratios)
        self._put("n_head", (row, slice(0, len(heads))), heads)
        for name in ("params", "flops", "macs"):
            self._put(name, row, record[name])

    def _known(self, records: Sequence[Record]) -> Iterator[tuple[int, Record]]:
        for record in records:
            row = self._row_of.get(key_of(record["arch"]))
            if row is not None:
                yield row, record

    def _put(self, name: str, place: Any, value: Any) -> None:
        kind, unknown = KINDS[name]
        count, devices = len(self._row_of), len(DEVICES)
        shapes: dict[str, tuple[int, ...]] = {
            "latency_ms": (devices, count, REPEATS),
            **dict.fromkeys(
                ("energy_wh_mean", "energy_wh_std", "energy_wh_median", "power_w_median"), (devices, count)
            ),
            **dict.fromkeys(("n_head", "mlp_ratio"), (count, self._layers)),
        }
        shape = shapes.get(name, (count,))
        array = self.arrays.get(name)
        if array is None or array.shape != shape:
            grown = np.full(shape, unknown, kind)
            if array is not None:  # further networks of the device that gives the order
                grown[tuple(slice(0, size) for size in array.shape)] = array
            self.arrays[name] = array = grown
        array[place] = value

    def check(self) -> None:
        """Raises InputError where a network lacks what every network has."""
        for name in ("params", "latency_ms", "energy_wh_mean", "bfloat16_memory_mb", "float16_memory_mb", "perplexity"):
            if name not in self.arrays:
                raise InputError(f"raw files: none tells of {name}; wanted all files of the scale")
        latency = np.isfinite(self.arrays["latency_ms"]).any(axis=-1)
        energy = np.isfinite(self.arrays["energy_wh_mean"])
        for device, known in zip(DEVICES, (latency & energy).all(axis=1)):
            if not known:
                raise InputError(f"raw files: networks without latency or energy on {device}; wanted all of the scale")


def _milliseconds(times: Sequence[float], units: Any) -> np.ndarray:
    """Repeats in ms, each in a unit of its own or all in one."""
    units = [units] * len(times) if isinstance(units, str) else units
    return np.array([time * UNITS[unit] for time, unit in zip(times, units, strict=True)])


_FLOAT, _SMALL = (np.float32, np.nan), (np.int8, 0)
#: number format and what stands for the unknown
KINDS: dict[str, tuple[Any, Any]] = {
    "embed_dim": (np.int16, 0),
    "n_layer": _SMALL,
    "n_head": _SMALL,
    "mlp_ratio": _SMALL,
    "bias": (np.bool_, False),
    "params": (np.int64, 0),
    "flops": (np.int64, 0),
    "macs": (np.int64, 0),
    **dict.fromkeys(
        (
            "perplexity", "accuracy", "bfloat16_memory_mb", "float16_memory_mb", "latency_ms", "energy_wh_mean",
            "energy_wh_std", "energy_wh_median", "power_w_median",
        ),
        _FLOAT,
    ),
}  # fmt: skip
