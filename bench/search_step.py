"""One whole step of a search on NAS-Bench-201, ours beside the published way and beside plain batched PyTorch.

A step is the paper's: Φ (preferences, hypernetwork, ReinMax samples, supernet's losses on a validation minibatch,
predicted latencies, per-device gradients, MGD, Adam), then w (fresh samples, mean loss on a training minibatch,
clipped SGD). Sizes are the paper's, C = 16 and N = 5 on images of 32 × 32 pixels; images are noise.

  published loop   the published code's way, rewritten: one device at a time, NCHW, one operation per edge
  plain batched    all devices at once, every operation of every edge, our hypernetwork and MGD
  compiled         the same through torch.compile: on CUDA unless --no-compile is given, on the CPU with --compile
  ours             what `modnas-fast search --preset nb201-paper` runs, on a CPU in float32
  ours, bfloat16   the same in bfloat16, on a CPU with instructions for it: what it runs where that is faster

Convolutions of the others are as torch makes them, on CUDA in TF32 unless it is told otherwise. Contenders take turns
in one process; a time is a median, a ratio is one of medians, above 1 where ours is faster. Refuses to run where losses
or gradients differ by more than 1e-8 in float64; what is compiled is not checked again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from modnas_fast.bench import step_agreement
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
    torch_device,
    write_results,
)
from modnas_fast.bench.step_contenders import MAKERS, OURS, OURS_BFLOAT16, Contender, admitted, release
from modnas_fast.bench.step_parts import peak_memory, seconds_by_kind, seconds_by_part
from modnas_fast.bench.step_setting import Setting
from modnas_fast.bench.step_tables import parts_table, plot, times_table
from modnas_fast.devices.machine import native_formats
from modnas_fast.runtime.allocator import keep_freed_memory
from modnas_fast.runtime.terminal_table import show

#: steps of the paper's search: 100 epochs of 98
PAPER_STEPS = 9800


def measured(setting: Setting, names: list[str], rounds: int, parts: bool) -> dict[str, Any]:
    """One row of the results: everything of one setting."""
    contenders, skipped = admitted(setting, names)
    for name, reason in skipped.items():
        print(f"{name}: left out, it {reason}")
    expected = sum(one.expected_seconds for one in contenders.values())
    if expected > 5:
        print(f"expected: up to about {shown(expected * (1 + rounds + 2 * parts))}")
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
        **({"ratio_bfloat16": ratios(seconds, OURS_BFLOAT16)} if OURS_BFLOAT16 in seconds else {}),
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
    parser.add_argument(
        "--parts", action="store_true", help="also tell where time goes, by part and by kind of operation"
    )
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
    cuda = given.device != "cpu"
    torch.set_num_threads(given.threads)
    keep_freed_memory()  # as such a search does; all contenders gain from it
    step_agreement.check(given.device)
    tried = {"compiled": given.compile, OURS_BFLOAT16: not cuda and "bfloat16" in native_formats()}
    names = [name for name in MAKERS if tried.get(name, True)]
    facts = {"device": given.device, "rounds": given.rounds}
    if given.json:
        facts["copy_bytes_per_second"] = copy_bandwidth(3, given.device)
    results = []
    for batch in given.batch:
        for devices in given.devices:
            setting = Setting(devices, batch, given.channels, given.cells, given.side, where=given.device)
            row = measured(setting, names, given.rounds, given.parts)
            results.append(row)
            tell(row)
            if given.json:
                write_results(given.json, "search_step", results, **facts)
            release(given.device)
    if given.plot:
        plot(results, given.plot)


def tell(row: dict[str, Any]) -> None:
    """Prints what one setting gave."""
    show(times_table(row))
    if published := row.get("ratio_bfloat16", {}).get("published loop"):
        print(f"in bfloat16 ours is {published:.2f} × as fast as the published loop in float32")
    if "compile_seconds" in row:
        print(f"compiling took {shown(row['compile_seconds'])}, which is not part of the times")
    if "parts" in row:
        show(parts_table(row))


if __name__ == "__main__":
    run(main)
