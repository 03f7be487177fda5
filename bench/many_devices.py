"""A search on many devices: how long it takes, and how near fronts come to the exact ones, by devices in a step.

    MODNAS_DATA=FOLDER modnas-fast bench many_devices [--devices N] [--per-step all,32,…] [--seed S] [--json FILE]

Devices are virtual: mixtures of a few of HELP's settings of NAS-Bench-201, each setting's latencies in units of their
median, with random shares and a random speed, so that every one knows all 15,625 networks. Each is searched by the
preset nb201; ratios are to the exact front's hypervolume of the device. --keep FOLDER keeps table and runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from modnas_fast import search
from modnas_fast.bench.runner import Parser, count, run, shown, shown_bytes, write_results
from modnas_fast.report import write_report
from modnas_fast.reproduction.run import all_settings
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.terminal_table import Column, FittedTable, show
from modnas_fast.spaces.nb201.published import HELP

#: settings that a virtual device mixes, at most
MIXED = 3
#: the fastest and the slowest device have a median latency of so many milliseconds at least and at most
MEDIANS = 1.0, 100.0
QUICK = (
    "predictor.steps=60",
    "task.queries=40",
    "devices.networks=120",
    "search.steps=10",
    "search.refine_steps=20",
    "evaluation.rays=6",
)


def mixtures(settings: Tensor, devices: int, generator: torch.Generator) -> Tensor:
    """Latencies [T, n] of virtual devices, of those of real settings [D, n], all positive.

    >>> mixtures(torch.tensor([[1.0, 2.0, 3.0]]), 2, torch.Generator().manual_seed(0)).diff().gt(0).all().item()
    True
    """
    real = settings / settings.median(dim=1, keepdim=True).values
    mixed = min(MIXED, len(real))
    order = torch.rand(devices, len(real), generator=generator).argsort(dim=1)[:, :mixed]
    shares = -torch.rand(devices, mixed, generator=generator).clamp(min=1e-6).log()  # Dirichlet(1)
    weights = torch.zeros(devices, len(real)).scatter_(1, order, shares / shares.sum(dim=1, keepdim=True))
    low, high = (torch.tensor(value).log() for value in MEDIANS)
    speeds = (low + (high - low) * torch.rand(devices, 1, generator=generator)).exp()
    found: Tensor = speeds * (weights @ real)
    return found


def write_table(file: Path, architectures: Sequence[str], latencies: Tensor) -> None:
    """A table of one's own, as parquet, of latencies [T, n]."""
    count, width = latencies.shape
    names = [f"virtual_{number:04}" for number in range(count)]
    columns = {
        "architecture": _coded(list(architectures), torch.arange(width).repeat(count)),
        "device": _coded(names, torch.arange(count).repeat_interleave(width)),
        "latency_ms": pa.array(latencies.flatten().double().numpy()),
    }
    pq.write_table(pa.table(columns), file, compression="zstd")


def _coded(distinct: list[str], places: Tensor) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places.int().numpy()), pa.array(distinct))


def searched(table: Path, folder: Path, per_step: int | None, seed: int, quick: bool) -> dict[str, Any]:
    """One row of the results."""
    overrides = [f"devices.table={table}", f"search.devices_per_step={per_step or 'null'}", "report.plots=false"]
    begun = time.perf_counter()
    result = search(preset="nb201", out=folder, seed=seed, overrides=[*overrides, *(QUICK if quick else ())])
    whole = time.perf_counter() - begun
    begun = time.perf_counter()
    page = write_report(result.run, with_plots=False)
    report = time.perf_counter() - begun
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    ratios = [device["hypervolume_ratio"] for device in content["devices"]]
    return {
        "per_step": per_step,
        "devices": len(ratios),
        "mean_ratio": fmean(ratios),
        "worst_ratio": min(ratios),
        "search_s": content["seconds"]["search"],
        "seconds": content["seconds"],
        "whole_s": whole,
        "report_s": report,
        "report_bytes": page.stat().st_size,
        "answers_bytes": (folder / "answers.npz").stat().st_size,
    }


def _per_step(text: str) -> list[int | None]:
    found: list[int | None] = []
    for part in text.split(","):
        found.append(None if part.strip() == "all" else count(part.strip()))
    return found


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = Parser("many_devices", __doc__ or "")
    parser.add_argument("--devices", type=count, default=1000, help="virtual ones; default: 1000")
    parser.add_argument("--per-step", type=_per_step, default=[32], help="devices in a step, or all; default: 32")
    parser.add_argument("--seed", type=int, default=0, help="of devices and searches; default: 0")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="new: keep the table and the runs here")
    parser.add_argument("--quick", action="store_true", help="short searches: times and ratios mean little")
    given = parser.parse_args(arguments)
    if given.keep and given.keep.exists():
        raise InputError(f"bench many_devices: --keep: {given.keep} is there already; name a new folder")
    return given


def main(arguments: list[str] | None = None) -> None:
    """Makes the devices, searches, prints."""
    given = options(arguments)
    torch.set_num_threads(given.threads)
    rows = []
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        known = load_benchmark("cifar10", HELP, all_settings(), [], ["latency"]).table
        settings = torch.stack([known.values[name][:, 0] for name in sorted(known.values)]).float()
        generator = torch.Generator().manual_seed(given.seed)
        table = folder / "virtual.parquet"
        write_table(table, known.architectures, mixtures(settings, given.devices, generator))
        print(f"{given.devices} devices of {len(known.architectures):,} networks: {shown_bytes(table.stat().st_size)}")
        for per_step in given.per_step:
            name = f"per-step-{per_step or 'all'}"
            rows.append(searched(table, folder / name, per_step, given.seed, given.quick))
            show(results_table(rows[-1:]))
    if len(rows) > 1:
        show(results_table(rows))
    if given.json:
        write_results(given.json, "many_devices", rows, seed=given.seed, quick=given.quick, table_devices=given.devices)


def results_table(rows: Sequence[dict[str, Any]]) -> FittedTable:
    """A line per search."""
    headings = ("mean ratio", "worst device", "search", "whole run", "report", "page", "answers")
    cells = [
        [
            str(row["per_step"] or f"all {row['devices']}"),
            f"{row['mean_ratio']:.4f}",
            f"{row['worst_ratio']:.4f}",
            *(shown(row[key]) for key in ("search_s", "whole_s", "report_s")),
            *(shown_bytes(row[key]) for key in ("report_bytes", "answers_bytes")),
        ]
        for row in rows
    ]
    return FittedTable([Column("devices in a step"), *(Column(heading, right=True) for heading in headings)], cells)


if __name__ == "__main__":
    run(main)
