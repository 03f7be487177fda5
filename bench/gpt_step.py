"""The supernet's part of a step of a search among GPTs, ours beside the published way and beside sliced networks.

Sizes are those of the preset gpt-small: 16 sequences of 64 tokens, a vocabulary of 257, networks of up to 4 layers with
96 channels, drawn at random, one per device. A step are losses with their gradient by the samples (Φ) and the gradient
of the mean loss by the weights (w); losses alone are what the default estimator asks for.

  published loop   the published code's way, rewritten: one device at a time, all weights of the largest network, masked
  sliced loop      one device at a time, with slices of the weights, by autograd
  ours             what `modnas-fast search --preset gpt-small` runs

Contenders take turns in one process; a time is a median, a ratio is one of medians, above 1 where ours is faster.
Refuses to run where losses or gradients differ by more than 1e-8 in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from modnas_fast.bench.gpt_contenders import Loop, Ours, Problem, Published, Setting, Sliced, problem
from modnas_fast.bench.runner import Parser, count, counts, medians, ratios, run, shown, shown_bytes, write_results
from modnas_fast.bench.step_parts import peak_memory
from modnas_fast.runtime.terminal_table import Column, FittedTable, show
from modnas_fast.spaces.gpt.scales import SCALES

CONTENDERS: dict[str, Callable[[Problem], Ours | Loop]] = {
    "published loop": Published,
    "sliced loop": Sliced,
    "ours": Ours,
}
#: what is timed: by its name, the method and its heading
PARTS = {"by_samples": "Φ", "by_weights": "w", "losses": "losses alone"}
#: how much contenders may differ in float64, relative to the largest number
TOLERANCE = 1e-8


def check(setting: Setting) -> None:
    """Raises RuntimeError where contenders disagree: then no time is worth printing."""
    given = problem(setting, torch.float64)
    found = {name: numbers(make(given)) for name, make in CONTENDERS.items()}
    for name, theirs in found.items():
        for what, ours in found["ours"].items():
            for own, other in zip(ours, theirs[what], strict=True):
                error = float((own - other).abs().max() / own.abs().max().clamp(min=1e-300))
                if not error <= TOLERANCE:
                    raise RuntimeError(f"gpt_step: {what} of ours and the {name} differ by {error:.1e}; run the tests")


def numbers(contender: Ours | Loop) -> dict[str, list[Tensor]]:
    """What each part gives."""
    return {
        "by_samples": list(contender.by_samples()),
        "by_weights": contender.by_weights(),
        "losses": [contender.losses()],
    }


def measured(setting: Setting, rounds: int) -> dict[str, Any]:
    """One row of the results."""
    given = problem(setting)
    contenders = {name: make(given) for name, make in CONTENDERS.items()}
    row: dict[str, Any] = {**setting._asdict(), "seconds": {}, "ratio": {}, "peak_bytes": {}}
    for part in PARTS:
        row["seconds"][part] = medians({name: getattr(one, part) for name, one in contenders.items()}, rounds)
        row["ratio"][part] = ratios(row["seconds"][part])
    by_samples, by_weights = row["seconds"]["by_samples"], row["seconds"]["by_weights"]
    row["seconds"]["step"] = {name: by_samples[name] + by_weights[name] for name in contenders}
    row["ratio"]["step"] = ratios(row["seconds"]["step"])
    for name, one in contenders.items():
        with peak_memory() as peak:
            numbers(one)
        row["peak_bytes"][name] = peak[0]
    return row


def table(row: dict[str, Any]) -> FittedTable:
    """One setting for the terminal."""
    seconds, ratio = row["seconds"], row["ratio"]["step"]
    headings = ["contender", "step", *PARTS.values(), "ours is faster by", "peak memory"]
    rows = [
        [
            name,
            *(shown(seconds[part][name]) for part in ("step", *PARTS)),
            f"{ratio[name]:.2f} ×" if name in ratio else "",
            shown_bytes(row["peak_bytes"][name]),
        ]
        for name in CONTENDERS
    ]
    title = f"T = {row['devices']}, {row['batch']} × {row['context']} tokens, scale {row['scale']}"
    return FittedTable([Column(heading) for heading in headings], rows, title=title)


def main(arguments: Sequence[str] | None = None) -> None:
    """Checks, measures, prints."""
    parser = Parser("gpt_step", __doc__ or "")
    parser.add_argument("--devices", type=counts, metavar="T,T", help="default: 1,8,32; with --quick 8")
    parser.add_argument("--batch", type=count, default=16, help="sequences; default: 16")
    parser.add_argument("--context", type=count, default=64, help="tokens of each; default: 64")
    parser.add_argument("--vocabulary", type=count, default=257, help="default: 257, those of bytes")
    parser.add_argument("--scale", choices=tuple(SCALES), default="small", help="of the space; default: small")
    parser.add_argument("--rounds", type=count, help="turns of each contender; default: 15; with --quick 5")
    parser.add_argument("--quick", action="store_true", help="T = 8 alone, few rounds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    check(Setting(4, 2, 8, 13, options.scale))
    results = []
    for devices in options.devices or ((8,) if options.quick else (1, 8, 32)):
        setting = Setting(devices, options.batch, options.context, options.vocabulary, options.scale)
        results.append(measured(setting, options.rounds or (5 if options.quick else 15)))
        show(table(results[-1]))
    if options.json:
        write_results(options.json, "gpt_step", results)


if __name__ == "__main__":
    run(main)
