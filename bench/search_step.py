"""One whole step of a search on NAS-Bench-201, ours beside the published way and beside plain batched PyTorch.

A step is the paper's: Φ (preferences, hypernetwork, ReinMax samples, supernet's losses on a validation minibatch,
predicted latencies, per-device gradients, MGD, Adam), then w (fresh samples, mean loss on a training minibatch,
clipped SGD). Sizes are the paper's, C = 16 and N = 5 on images of 32 × 32 pixels; images are noise.

  published loop   the published code's way, rewritten: one device at a time, NCHW, one operation per edge
  plain batched    all devices at once, every operation of every edge, our hypernetwork and MGD
  compiled         the same through torch.compile; on CUDA always, on the CPU with --compile
  ours             what `modnas-fast search --preset nb201-paper` runs

Contenders take turns in one process; a time is a median, a ratio is one of medians, above 1 where ours is faster.
Refuses to run where losses or gradients differ by more than 1e-8 in float64.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from modnas_fast.bench import step_agreement
from modnas_fast.bench.batched_supernet import BatchedSupernet
from modnas_fast.bench.published_step import PublishedStep
from modnas_fast.bench.published_supernet import PublishedSupernet
from modnas_fast.bench.runner import (
    Parser,
    copy_bandwidth,
    count,
    counts,
    medians,
    ratios,
    run,
    seconds_of,
    shown,
    shown_bytes,
    torch_device,
    write_results,
)
from modnas_fast.bench.step_parts import (
    Function,
    free_memory,
    functions_of_published,
    functions_of_search,
    peak_memory,
    seconds_by_kind,
    seconds_by_part,
)
from modnas_fast.bench.step_setting import Setting, make_search
from modnas_fast.search import Search

#: steps of the paper's search: 100 epochs of 98
PAPER_STEPS = 9800
#: devices and images of the small step that foretells time and memory of large ones
PROBE = (2, 8)
#: of the free memory, what a contender may be foretold to take
MEMORY_SHARE = 0.8
OURS = "ours"


@dataclass
class Contender:
    """One way to make a step."""

    state: Search | PublishedStep
    functions: list[Function]
    #: what the small step foretold, or 0
    expected_seconds: float = 0.0
    expected_bytes: int = 0
    #: of the first step
    first_seconds: float = 0.0
    peak_bytes: int = 0


def published(setting: Setting) -> Contender:
    step = PublishedStep(setting)
    return Contender(step, functions_of_published(step))


def plain_batched(setting: Setting, compiled: bool = False) -> Contender:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.config.seed)
        supernet = PublishedSupernet(setting.classes, setting.channels, setting.cells)
    search = make_search(setting, BatchedSupernet(supernet, compiled))
    return Contender(search, functions_of_search(search))


def ours(setting: Setting) -> Contender:
    search = make_search(setting)
    return Contender(search, functions_of_search(search))


MAKERS: dict[str, Callable[[Setting], Contender]] = {
    "published loop": published,
    "plain batched": plain_batched,
    "compiled": lambda setting: plain_batched(setting, compiled=True),
    OURS: ours,
}


def foretold(setting: Setting, name: str) -> tuple[float, int]:
    """Seconds and bytes of a step in proportion to T and B, from a small one; zeros where that is no smaller."""
    small = setting.smaller(*PROBE)
    scale = setting.devices * setting.batch / (small.devices * small.batch)
    if scale <= 4:
        return 0.0, 0
    # eager stands for compiled: compiling takes minutes, and the step itself hardly more
    step = MAKERS["plain batched" if name == "compiled" else name](small).state.step
    step()
    with peak_memory(setting.where) as peak:
        seconds = seconds_of(step, setting.where)
    gc.collect()
    return scale * seconds, int(scale * peak[0])


def admitted(setting: Setting, names: list[str]) -> tuple[dict[str, Contender], dict[str, str]]:
    """The contenders that memory suffices for, and why others are left out."""
    contenders, skipped = {}, {}
    for name in names:
        seconds, size = foretold(setting, name)
        free = free_memory(setting.where)
        if size > MEMORY_SHARE * free:
            skipped[name] = f"would take about {shown_bytes(size)} of memory, {shown_bytes(free)} are free"
            continue
        contenders[name] = MAKERS[name](setting)
        contenders[name].expected_seconds, contenders[name].expected_bytes = seconds, size
    return contenders, skipped


def measured(setting: Setting, names: list[str], rounds: int, parts: bool, console: Console) -> dict[str, Any]:
    """One row of the results: everything of one setting."""
    contenders, skipped = admitted(setting, names)
    for name, reason in skipped.items():
        console.print(f"{name}: left out, it {reason}")
    expected = sum(one.expected_seconds for one in contenders.values())
    if expected > 5:
        console.print(f"expected: about {shown(expected * (1 + rounds + 2 * parts))}")
    for one in contenders.values():
        with peak_memory(setting.where) as peak:
            one.first_seconds = seconds_of(one.state.step, setting.where)
        one.peak_bytes = peak[0]
    steps = {name: one.state.step for name, one in contenders.items()}
    seconds = medians(steps, rounds, where=setting.where, warm=False)
    row = {
        **setting.to_dict(),
        "seconds": seconds,
        "ratio": ratios(seconds) if OURS in seconds else {},
        "seconds_per_device": {name: value / setting.devices for name, value in seconds.items()},
        "peak_bytes": {name: one.peak_bytes for name, one in contenders.items()},
        "skipped": skipped,
    }
    if "compiled" in contenders:
        row["compile_seconds"] = contenders["compiled"].first_seconds - seconds["compiled"]
    if setting.where != "cpu":
        row["estimated_paper_hours"] = {name: PAPER_STEPS * value / 3600 for name, value in seconds.items()}
    if parts:
        row["parts"] = {name: profiled(one, setting.where) for name, one in contenders.items()}
    return row


def profiled(contender: Contender, where: str) -> dict[str, Any]:
    """Seconds of one step by half and part, and of another by kind of operation."""
    by_part = seconds_by_part(contender.state, contender.functions, where)
    return {"by_part": by_part, "by_kind": seconds_by_kind(contender.state.step, where)}


def times_table(row: dict[str, Any]) -> Table:
    """A line per contender."""
    title = f"one step: T = {row['T']}, batch {row['batch']}, C = {row['C']}, N = {row['N']}"
    table = Table(title=title, title_justify="left")
    table.add_column("contender")
    hours = row.get("estimated_paper_hours", {})
    headings = ["step", "over ours", "per device", "peak memory", *(["100 epochs, estimate"] if hours else [])]
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, seconds in row["seconds"].items():
        ratio = row["ratio"].get(name)
        table.add_row(
            name,
            shown(seconds),
            f"{ratio:.2f} ×" if ratio else "",
            shown(row["seconds_per_device"][name]),
            shown_bytes(row["peak_bytes"][name]),
            *([f"{hours[name]:.1f} h"] if hours else []),
        )
    return table


def parts_table(row: dict[str, Any]) -> Table:
    """Shares of a step by part, then by kind of operation; a column per contender."""
    found = row["parts"]
    title = f"where a step's time goes: T = {row['T']}, batch {row['batch']}"
    table = Table("", *[f"{name}" for name in found], title=title, title_justify="left")
    for half in ("Φ step", "w step"):
        columns = [parts["by_part"][half] for parts in found.values()]
        totals = [sum(sum(half.values()) for half in parts["by_part"].values()) for parts in found.values()]
        _shares(table, half, columns, totals)
    columns = [parts["by_kind"] for parts in found.values()]
    _shares(table, "both, by kind of operation", columns, [sum(column.values()) for column in columns])
    return table


def _shares(table: Table, heading: str, columns: list[dict[str, float]], totals: list[float]) -> None:
    """A section of the table: the sums in the line of the heading, the largest shares first."""
    sums = [f"{shown(sum(column.values()))}  {sum(column.values()) / total:4.0%}" for column, total in zip(columns, totals)]
    table.add_row(heading, *sums, style="bold")
    names = sorted({name for column in columns for name in column}, key=lambda name: -max(c.get(name, 0) for c in columns))
    for name in names:
        cells = [f"{shown(c[name])}  {c[name] / total:4.0%}" if name in c else "" for c, total in zip(columns, totals)]
        table.add_row(f"  {name}", *cells)
    table.add_section()


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Seconds of a step over T, a panel per size of the minibatch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from modnas_fast.files import replacing

    batches = sorted({row["batch"] for row in results})
    figure, axes = plt.subplots(1, len(batches), figsize=(1 + 4 * len(batches), 4), squeeze=False, layout="constrained")
    names = [name for name in MAKERS if any(name in row["seconds"] for row in results)]
    for axis, batch in zip(axes[0], batches, strict=True):
        for number, name in enumerate(names):
            points = [(row["T"], row["seconds"][name]) for row in results if row["batch"] == batch and name in row["seconds"]]
            if points:
                axis.loglog(*zip(*points, strict=True), marker="o", label=name, color=f"C{number}")
        axis.set(xlabel="T, devices", ylabel="seconds per step", title=f"batch {batch}")
        axis.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    plt.close(figure)


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with the defaults of the torch device filled in."""
    parser = Parser("search_step", __doc__)
    parser.add_argument("--devices", type=counts, metavar="T,T", help="default: 1,13; on CUDA 1,13,32,64")
    parser.add_argument("--batch", type=counts, metavar="B,B", help="images; default: 64; on CUDA 64,256")
    parser.add_argument("--rounds", type=count, help="turns of each contender; default: 3, on CUDA 9")
    parser.add_argument("--channels", type=count, default=16, metavar="C", help="of the first stage; default: 16")
    parser.add_argument("--cells", type=count, default=5, metavar="N", help="per stage; default: 5")
    parser.add_argument("--side", type=count, default=32, help="of the images, in pixels; default: 32")
    parser.add_argument("--device", type=torch_device, default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--quick", action="store_true", help="T = 13 and batch 64 alone, three rounds")
    parser.add_argument("--parts", action="store_true", help="also tell where time goes, by part and by kind of operation")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="run torch.compile's too, or not")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the times into this PNG file")
    given = parser.parse_args(arguments)
    cuda = given.device != "cpu"
    if given.quick and (given.devices or given.batch):
        parser.error("--quick has its own sizes; leave --devices and --batch out")
    if given.side % 4:
        parser.error(f"--side: wanted a multiple of 4, got {given.side}")
    given.devices = given.devices or ([13] if given.quick else [1, 13, 32, 64] if cuda else [1, 13])
    given.batch = given.batch or ([64] if given.quick or not cuda else [64, 256])
    given.rounds = given.rounds or (9 if cuda and not given.quick else 3)
    given.compile = cuda if given.compile is None else given.compile
    return given


def main(arguments: list[str] | None = None) -> None:
    """Checks, measures, prints."""
    given = options(arguments)
    torch.set_num_threads(given.threads)
    console = Console()
    step_agreement.check(given.device, given.compile)
    names = [name for name in MAKERS if name != "compiled" or given.compile]
    facts = {"device": given.device, "rounds": given.rounds}
    if given.json:
        facts["copy_bytes_per_second"] = copy_bandwidth(3, given.device)
    results = []
    for batch in given.batch:
        for devices in given.devices:
            setting = Setting(devices, batch, given.channels, given.cells, given.side, where=given.device)
            row = measured(setting, names, given.rounds, given.parts, console)
            results.append(row)
            show(row, console)
            if given.json:
                write_results(given.json, "search_step", results, **facts)
            release(given.device)
    if given.plot:
        plot(results, given.plot)


def show(row: dict[str, Any], console: Console) -> None:
    """Prints what one setting gave."""
    console.print(times_table(row))
    if "compile_seconds" in row:
        console.print(f"compiling took {shown(row['compile_seconds'])}, which is not part of the times")
    if "parts" in row:
        console.print(parts_table(row))


def release(where: str) -> None:
    """Gives memory of the last setting back; graphs of other sizes count against torch.compile's limit."""
    torch.compiler.reset()
    gc.collect()
    if where != "cpu":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    run(main)
