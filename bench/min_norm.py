"""min_norm: the compiled core against the reference and against Frank-Wolfe, in one process, in turns.

    python bench/min_norm.py [--json FILE] [--rounds N] [--sizes 2 3 13 64] [--batches 1 64]

Prints, per T and batch, the median time of one call and ratios of medians; a ratio above 1 means that the
exact method of the compiled core is the faster one. Refuses to run where its answer is not optimal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast import doctor, implementations
from modnas_fast.mgd import min_norm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import gramians

CONTENDERS = {
    "exact, compiled": ("c++", "exact"),
    "exact, reference": ("reference", "exact"),
    "Frank-Wolfe, compiled": ("c++", "frank_wolfe"),
    "Frank-Wolfe, reference": ("reference", "frank_wolfe"),
}


def seconds(gramian: Tensor, implementation: str, method: str) -> float:
    """Wall-clock time of one call."""
    with implementations.using(implementation):
        start = time.perf_counter()
        min_norm(gramian, method=method)
        return time.perf_counter() - start


def check(gramian: Tensor) -> None:
    """Raises RuntimeError where an exact answer is not optimal: then no time is worth printing."""
    largest = gramian.diagonal(dim1=-2, dim2=-1).amax(-1)
    for implementation in ("c++", "reference"):
        with implementations.using(implementation):
            if (min_norm(gramian).gap > 1e-12 * largest).any():
                raise RuntimeError(f"{implementation} is not optimal; run the tests first")


def measure(size: int, batch: int, rounds: int) -> dict[str, Any]:
    """Medians in microseconds of every contender on agreeing gradients, and their ratios to ours."""
    gramian = gramians.gramian(gramians.agreeing(batch, size, 4 * size, seed=size))
    check(gramian)
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, (implementation, method) in CONTENDERS.items():
            times[name].append(seconds(gramian, implementation, method))
    medians = {name: 1e6 * statistics.median(values) for name, values in times.items()}
    ours = medians["exact, compiled"]
    ratios = {name: value / ours for name, value in medians.items()}
    return {"T": size, "batch": batch, "median_us": medians, "ratio": ratios}


def commit() -> str | None:
    """The commit of the source tree, None outside of one."""
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description="min_norm: compiled core, reference and Frank-Wolfe, in turns"
    )
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3, 8, 13, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    arguments = parser.parse_args()
    if "c++" not in implementations.available("min_norm", "cpu"):
        raise SystemExit(implementations.chosen("min_norm", "cpu").reason)
    torch.set_num_threads(1)
    results = []
    print(
        f"{'T':>3} {'batch':>5}  {'exact, compiled':>16}"
        + "".join(f"{name:>25}" for name in list(CONTENDERS)[1:])
    )
    for size in arguments.sizes:
        for batch in arguments.batches:
            row = measure(size, batch, arguments.rounds)
            results.append(row)
            others = "".join(f"{row['ratio'][name]:>23.2f} x" for name in list(CONTENDERS)[1:])
            print(
                f"{size:>3} {batch:>5}  {row['median_us']['exact, compiled']:>13.1f} us{others}", flush=True
            )
    if arguments.json:
        about = {
            "op": "min_norm",
            "commit": commit(),
            **doctor.diagnose().to_dict(),
        }
        arguments.json.write_text(
            json.dumps({**about, "dtype": "float64", "results": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
