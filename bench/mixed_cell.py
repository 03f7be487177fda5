"""One cell of the supernet for T devices, forward and backward, against plain batched PyTorch on the same inputs.

Cells are those of the paper's three stages (16, 32 and 64 channels on 32, 16 and 8 pixels), for random single paths,
whose weights or samples get gradients as in the two halves of a search step, and for the full mixture.

  ours         what serves the cell here: Triton kernels on CUDA, library calls on the CPU
  plain        the reference, all operations of all devices in plain PyTorch
  compiled     the same through torch.compile; with --compile, where compiling a cell ends within --compile-seconds

On CUDA each call is captured as a graph, and replays between two events are timed, so that no Python is; the bytes that
the kernels move, counted, are set beside the bandwidth of a copy measured in the same run. Contenders take turns in one
process; a time is a median, a ratio is one of medians, above 1 where ours is faster. Others are left out where the
memory that one device takes foretells that it does not suffice. Refuses to run where an answer of ours is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.bench.gpu_time import gpu_medians
from modnas_fast.bench.runner import (
    Parser,
    Times,
    copy_bandwidth,
    count,
    counts,
    medians,
    ratios,
    run,
    shown,
    shown_bytes,
    torch_device,
    write_results,
)
from modnas_fast.bench.step_contenders import MEMORY_SHARE, release
from modnas_fast.bench.step_parts import peak_memory
from modnas_fast.bench.time_limit import TookTooLong, at_most
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import free_memory
from modnas_fast.runtime.terminal_table import Column, FittedTable, show
from modnas_fast.spaces.nb201 import mixed_cell_reference
from modnas_fast.spaces.nb201.mixed_cell import mixed_cell
from modnas_fast.spaces.nb201.mixed_cell_bytes import bytes_moved
from modnas_fast.spaces.nb201.network import EDGES, OPERATIONS

#: channels and pixels of the stages
STAGES = ((16, 32), (32, 16), (64, 8))
#: what wants a gradient beside the cell's input, in the halves of a step and for the mixture
KINDS = {"path, by weights": (True, False), "path, by samples": (False, True), "mixture, by both": (True, True)}


#: forward passes without arguments, by contender
Calls = dict[str, Callable[[], Tensor]]


class Problem(NamedTuple):
    """Arguments of mixed_cell and the gradient of its output."""

    x: Tensor
    kernels_1x1: Tensor
    kernels_3x3: Tensor
    sample: Tensor
    active: Tensor
    gradient: Tensor

    @property
    def wanted(self) -> list[Tensor]:
        """What wants a gradient."""
        return [tensor for tensor in self[:4] if tensor.requires_grad]


def problem(kind: str, devices: int, batch: int, stage: int, dtype: torch.dtype, where: str) -> Problem:
    """Random numbers, the same ones each time."""
    generator = torch.Generator().manual_seed(devices + stage)
    channels, side = STAGES[stage]

    def images() -> Tensor:
        return torch.randn(devices, batch, side, side, channels, generator=generator).to(where, dtype).movedim(-1, 2)

    kernels = (
        torch.randn(len(EDGES), channels, channels, *size, generator=generator) / channels for size in ((), (3, 3))
    )
    by_weights, by_samples = KINDS[kind]
    if kind.startswith("mixture"):
        sample = torch.rand(devices, len(EDGES), len(OPERATIONS), generator=generator).softmax(-1)
        active = torch.ones_like(sample, dtype=torch.bool)
    else:
        indices = torch.randint(len(OPERATIONS), (devices, len(EDGES)), generator=generator)
        sample = F.one_hot(indices, len(OPERATIONS)).float()
        active = sample > 0
    small, large = (kernel.to(where).requires_grad_(by_weights) for kernel in kernels)
    return Problem(
        images().requires_grad_(), small, large, sample.to(where).requires_grad_(by_samples), active.to(where), images()
    )


def forward(p: Problem, kind: str) -> Tensor:
    return mixed_cell(*p[:5], single_path=kind.startswith("path"))


def plain(p: Problem, _: str) -> Tensor:
    with implementations.using("reference"):
        return mixed_cell(*p[:5])


def step(p: Problem, call: Callable[[], Tensor]) -> list[Tensor]:
    """The cell and all gradients that are wanted."""
    out = call()
    return [out.detach(), *torch.autograd.grad(out, p.wanted, p.gradient, allow_unused=True, materialize_grads=True)]


def check(dtype: torch.dtype, where: str) -> None:
    """Raises RuntimeError where an answer is wrong: then no time is worth printing."""
    for kind in KINDS:
        p = problem(kind, 3, 4, 0, dtype, where)
        wide = Problem(
            *(t if t.dtype == torch.bool else t.detach().double().requires_grad_(t.requires_grad) for t in p)
        )
        truth, found, own = (step(q, partial(call, q, kind)) for q, call in ((wide, plain), (p, forward), (p, plain)))
        for exact, ours, reference in zip(truth, found, own, strict=True):
            scale = exact.abs().max() + 1e-30
            error, allowed = ((other - exact).abs().max() / scale for other in (ours.double(), reference.double()))
            if not error <= 3 * allowed + 1e-5:
                raise RuntimeError(f"mixed_cell, {kind}: off by {float(error):.1e}; run the tests first")


def bytes_of_plain(kind: str, p: Problem, stage: int) -> int:
    """What a step of the plain contender takes beside its arguments, in proportion to that of one device."""
    alone = problem(kind, 1, p.x.shape[1], stage, p.x.dtype, p.x.device.type)
    with peak_memory(p.x.device.type) as peak:
        step(alone, partial(plain, alone, kind))
    release(p.x.device.type)
    return len(p.sample) * peak[0]


def admitted(kind: str, p: Problem, stage: int, compile_seconds: float | None) -> tuple[Calls, dict[str, str]]:
    """The contenders' forward passes, and why others are left out."""
    calls: Calls = {"ours": partial(forward, p, kind)}
    names = ["plain"] if compile_seconds is None else ["plain", "compiled"]
    size, free = bytes_of_plain(kind, p, stage), free_memory(p.x.device)
    if free is not None and size > MEMORY_SHARE * free:
        reason = f"would take about {shown_bytes(size)} of memory, {shown_bytes(free)} are free"
        return calls, dict.fromkeys(names, reason)
    calls["plain"] = partial(plain, p, kind)
    if compile_seconds is None:
        return calls, {}
    compiled = compiled_within(compile_seconds, p)
    if compiled is None:
        return calls, {"compiled": f"was not compiled within {shown(compile_seconds)}"}
    return {**calls, "compiled": compiled}, {}


def compiled_within(seconds: float, p: Problem) -> Callable[[], Tensor] | None:
    """The plain cell compiled for these arguments, with and without gradients; None where that takes longer."""
    torch.compiler.reset()
    call = partial(torch.compile(mixed_cell_reference.mixed_cell, dynamic=False), *p[:5])
    try:
        with at_most(seconds):
            _without_gradient(call)
            step(p, call)
    except TookTooLong:
        torch.compiler.reset()
        return None
    return call


def measure(
    kind: str, p: Problem, stage: int, rounds: int, bandwidth: float, compile_seconds: float | None = None
) -> dict[str, Any]:
    """Seconds of the forward pass and of a whole step, and shares of the copy's bandwidth."""
    where = p.x.device.type
    calls, skipped = admitted(kind, p, stage, compile_seconds)
    row: dict[str, Any] = {"kind": kind, "T": len(p.sample), "batch": p.x.shape[1], "C": p.x.shape[2]}
    row["skipped"] = skipped
    for name, part in (("forward", _without_gradient), ("step", partial(step, p))):
        seconds = times_of({contender: partial(part, call) for contender, call in calls.items()}, rounds, where)
        row[name] = {"seconds": seconds, "ratio": ratios(seconds)}
        if where == "cuda":
            row[name]["bytes"] = moved = _bytes(p, name)
            row[name]["fraction_of_copy_bandwidth"] = moved / seconds["ours"] / bandwidth
    return row


def times_of(calls: dict[str, Callable[[], object]], rounds: int, where: str) -> Times:
    """Median seconds: of the GPU alone on CUDA, of the whole call on the CPU."""
    return gpu_medians(calls, rounds) if where == "cuda" else medians(calls, rounds)


def _without_gradient(call: Callable[[], Tensor]) -> Tensor:
    with torch.no_grad():
        return call()


def _bytes(p: Problem, name: str) -> int:
    arguments = p.x.shape, p.x.element_size(), p.active.cpu()
    gradients = {"weights": p.kernels_3x3.requires_grad, "samples": p.sample.requires_grad}
    moved = bytes_moved(*arguments, "forward")
    return moved + bytes_moved(*arguments, "backward", **gradients) if name == "step" else moved


def table(rows: list[dict[str, Any]], part: str) -> FittedTable:
    """A line per cell."""
    title = "forward pass" if part == "forward" else "forward and backward pass"
    peers = list(dict.fromkeys(name for row in rows for name in row[part]["ratio"]))
    counted = "bytes" in rows[0][part]
    ranks = {"T": 0, "batch": 4, "C": 0, "ours": 0, **{f"{name} / ours": 1 for name in peers}}
    ranks |= {"of a copy": 2} if counted else {}
    columns = [Column("cell"), *(Column(heading, rank, right=True) for heading, rank in ranks.items())]
    lines = []
    for row in rows:
        cells = [row["kind"], *(str(row[key]) for key in ("T", "batch", "C")), shown(row[part]["seconds"]["ours"])]
        found = row[part]["ratio"]
        cells += [f"{found[name]:.2f} ×" if name in found else "" for name in peers]
        lines.append([*cells, *([f"{row[part]['fraction_of_copy_bandwidth']:.0%}"] if counted else [])])
    return FittedTable(columns, lines, title)


def main(arguments: list[str] | None = None) -> None:
    """Checks, measures, prints."""
    parser = Parser("mixed_cell", __doc__)
    parser.add_argument("--devices", type=counts, metavar="T,T", help="default: 13; on CUDA 13,64")
    parser.add_argument("--batch", type=count, help="images; default: 16; on CUDA 256")
    parser.add_argument("--rounds", type=count, default=5, help="turns of each contender; default: 5")
    parser.add_argument("--device", type=torch_device, default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32; on CUDA bfloat16")
    parser.add_argument("--compile", action="store_true", help="also torch.compile's; takes minutes")
    parser.add_argument(
        "--compile-seconds", type=count, default=120, metavar="N", help="for each cell at most; default: 120"
    )
    given = parser.parse_args(arguments)
    cuda = given.device == "cuda"
    serving = implementations.chosen("mixed_cell", given.device)
    if serving.name == "reference":
        raise InputError(f"bench mixed_cell: nothing but the reference on {given.device}: {serving.reason}")
    dtype = getattr(torch, given.dtype or ("bfloat16" if cuda else "float32"))
    torch.set_num_threads(given.threads)
    check(dtype, given.device)
    bandwidth = copy_bandwidth(5, given.device)
    rows = []
    for devices in given.devices or ([13, 64] if cuda else [13]):
        for stage in range(len(STAGES)):
            for kind in KINDS:
                p = problem(kind, devices, given.batch or (256 if cuda else 16), stage, dtype, given.device)
                limit = given.compile_seconds if given.compile else None
                rows.append(measure(kind, p, stage, given.rounds, bandwidth, limit))
                for name, reason in rows[-1]["skipped"].items():
                    print(f"{kind}, T = {devices}, C = {STAGES[stage][0]}: {name} left out, it {reason}")
                del p
                release(given.device)
    for part in ("forward", "step"):
        show(table(rows, part))
    if given.json:
        facts = {"device": given.device, "dtype": str(dtype), "implementation": serving.name}
        write_results(given.json, "mixed_cell", rows, copy_bytes_per_second=bandwidth, **facts)


if __name__ == "__main__":
    run(main)
