"""min_norm, gramian and combine against TorchJD, quadprog, the reference and the classic loop, on the same inputs.

    modnas-fast bench min_norm [--quick] [--json FILE] [--plot FILE.png] [--threads N]

Contenders take turns in one process; a time is a median, a ratio is one of medians, above 1 where ours is faster.
Refuses to run where an answer of ours is wrong. Peers without a batch axis are looped over at most 256 problems of
a batch and their time per problem is scaled up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.bench.classic import classic_step
from modnas_fast.bench.runner import Parser, copy_bandwidth, medians, ratios, run, shown, source_folder, write_results
from modnas_fast.mgd import combine, gramian, min_norm
from modnas_fast.report.own_style import own_style
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError

source_folder(["quadprog", "torchjd"], "min_norm")
import gramians

from modnas_fast.bench import peers

T = 13
SAMPLE = 256


def relative_gaps(gram: Tensor, weights: Tensor) -> Tensor:
    """The duality gap of weights from anywhere, relative to a (a + the longest gradient), a = Σ γ_t ‖g_t‖."""
    product = torch.einsum("...ij,...j->...i", gram, weights.to(gram))
    length = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    reach = (weights * length).sum(-1)
    return ((weights * product).sum(-1) - product.amin(-1)) / (reach * (reach + length.amax(-1)))


def excess(gram: Tensor, weights: Tensor) -> float:
    """How much longer than the optimum the squared norm is, relative to it; the worst of a batch."""
    squared = torch.einsum("...i,...ij,...j->...", weights, gram, weights)
    return float((squared / min_norm(gram).squared_norm - 1).max())


def check() -> None:
    """Raises InputError where an answer is wrong: then no time is worth printing."""
    for size in (2, 3, T, 64):
        for kind, maker in gramians.HARD.items():
            gram = gramians.gramian(maker(8, size, size))
            answer = min_norm(gram)
            if (relative_gaps(gram, answer.weights) > 1e-10).any() or (answer.status != 0).any():
                raise InputError(f"bench min_norm: min_norm is not optimal on {kind}, T = {size}; run the tests first")
    jacobian = torch.randn(T, 5000)
    wide, weights = jacobian.double(), torch.rand(T, dtype=torch.float64)
    if not torch.allclose(gramian(jacobian), wide @ wide.T, rtol=1e-12, atol=1e-9):
        raise InputError("bench min_norm: gramian is wrong; run the tests first")
    if not torch.allclose(combine(weights, jacobian), (weights @ wide).float(), rtol=1e-6, atol=0):
        raise InputError("bench min_norm: combine is wrong; run the tests first")


def reference(gram: Tensor) -> Tensor:
    with implementations.using("reference"):
        return min_norm(gram).weights


def single(size: int, rounds: int, with_peers: bool = True) -> dict[str, Any]:
    """One problem per call, from Python."""
    gram = gramians.gramian(gramians.agreeing(1, size, 4 * size, seed=size))[0]
    contenders: dict[str, Callable[[], object]] = {"ours": lambda: min_norm(gram)}
    found = {}
    if with_peers:
        for name, solve in peers.SOLVERS.items():
            contenders[name] = lambda solve=solve: solve(gram)
            found[name] = excess(gram, solve(gram).double())
        contenders["reference"] = lambda: reference(gram)
    times = medians(contenders, rounds)
    own = float(relative_gaps(gram, min_norm(gram).weights))
    return {"T": size, "seconds": times, "ratio": ratios(times), "relative_gap": own, "excess": found}


def batch(count: int, rounds: int) -> dict[str, Any]:
    """A batch in one call; peers loop over a sample."""
    gram = gramians.gramian(gramians.agreeing(count, T, 4 * T, seed=count))
    sample = gram[:SAMPLE]
    times = medians({"ours": lambda: min_norm(gram)}, rounds)
    scale = count / len(sample)
    loops = {name: lambda solve=solve: [solve(g) for g in sample] for name, solve in peers.SOLVERS.items()}
    looped = medians(loops, max(2, rounds // 4))
    times |= {f"{name}, looped": scale * value for name, value in looped.items()}
    times["reference"] = scale * medians({"reference": lambda: reference(sample)}, 2)["reference"]
    return {"batch": count, "T": T, "seconds": times, "ratio": ratios(times)}


def step(jacobian: Tensor) -> Tensor:
    """One whole MGD step."""
    return combine(min_norm(gramian(jacobian)).weights, jacobian)


def whole_step(width: int, rounds: int, bandwidth: float) -> dict[str, Any]:
    """Gramian, solve and combination of float32 gradients [13, P]."""
    generator = torch.Generator().manual_seed(width)
    jacobian = torch.randn(T, width, generator=generator)
    jacobian += torch.randn(1, width, generator=generator)
    weights = min_norm(gramian(jacobian)).weights
    times = medians(
        {
            "ours": lambda: step(jacobian),
            "torchjd": lambda: peers.torchjd_step(jacobian),
            "classic loop": lambda: classic_step(jacobian),
            "gramian": lambda: gramian(jacobian),
            "J @ J.T": lambda: jacobian @ jacobian.T,
            "combine": lambda: combine(weights, jacobian),
            "w @ J": lambda: weights.float() @ jacobian,
        },
        rounds,
    )
    size = jacobian.element_size() * width
    moved = {"ours": (2 * T + 1) * size, "gramian": T * size, "combine": (T + 1) * size}
    return {
        "P": width,
        "T": T,
        "seconds": times,
        "ratio": {
            "torchjd": times["torchjd"] / times["ours"],
            "classic loop": times["classic loop"] / times["ours"],
            "J @ J.T over gramian": times["J @ J.T"] / times["gramian"],
            "w @ J over combine": times["w @ J"] / times["combine"],
        },
        "fraction_of_copy_bandwidth": {name: count / times[name] / bandwidth for name, count in moved.items()},
    }


def over_threads(count: int, rounds: int, most: int) -> dict[str, Any]:
    """One batch with 1 .. most threads, call by call in turns, so that a slow moment of the machine meets all."""
    gram = gramians.gramian(gramians.agreeing(count, T, 4 * T, seed=1))

    def on(threads: int) -> None:
        torch.set_num_threads(threads)
        min_norm(gram)

    before = torch.get_num_threads()
    try:
        times = medians({str(threads): lambda threads=threads: on(threads) for threads in range(1, most + 1)}, rounds)
    finally:
        torch.set_num_threads(before)
    return {"batch": count, "T": T, "seconds": times, "speedup": {k: times["1"] / v for k, v in times.items()}}


def report(title: str, row: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, seconds in row["seconds"].items():
        ratio = row.get("ratio", {}).get(name)
        print(f"  {name:<24}{shown(seconds):>12}" + (f"{ratio:>12.1f} x" if ratio else ""), flush=True)
    for key in ("relative_gap", "excess", "fraction_of_copy_bandwidth", "speedup"):
        if row.get(key):
            value = row[key] if isinstance(row[key], dict) else {"ours": row[key]}
            print(f"  {key}: " + ", ".join(f"{name} {number:.3g}" for name, number in value.items()))
    for name, ratio in row.get("ratio", {}).items():
        if name not in row["seconds"]:
            print(f"  {name}: {ratio:.2f} x")


@own_style()
def plot(results: dict[str, Any], path: Path) -> None:
    """Time over T, over the batch, and of the whole step over P."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    panels = (("single", "T", "one problem"), ("batch", "batch", f"a batch, T = {T}"), ("step", "P", "whole step"))
    colours: dict[str, str] = {}
    for axis, (key, x, title) in zip(axes, panels, strict=True):
        names = dict.fromkeys(name for row in results[key] for name in row["seconds"])
        for name in names:
            points = [(row[x], row["seconds"][name]) for row in results[key] if name in row["seconds"]]
            colour = colours.setdefault(name.removesuffix(", looped"), f"C{len(colours)}")
            width = 2 if name == "ours" else 1
            axis.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=name, lw=width, color=colour)
        axis.set(xlabel=x, ylabel="seconds", title=title)
        axis.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Checks, measures, prints."""
    parser = Parser("min_norm", __doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds and small sizes: a minute instead of ten")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw them into this file")
    given = parser.parse_args(arguments)
    if "c++" not in implementations.available("min_norm", "cpu"):
        raise InputError(f"bench min_norm: {implementations.chosen('min_norm', 'cpu').reason}")
    quick, threads = given.quick, given.threads
    torch.set_num_threads(threads)
    check()
    results: dict[str, Any] = {"single": [], "batch": [], "step": []}
    for size in (2, 3, 8, T, 32) if quick else (2, 3, 5, 8, T, 19, 32, 64, 128, 256, 512, 1024):
        row = single(size, 9 if quick else 51 if size < 200 else 5, with_peers=size <= 128)
        results["single"].append(row)
        report(f"one problem, T = {size}", row)
    for count in (64, 4096) if quick else (64, 4096, 65_536):
        row = batch(count, 3 if quick else 9)
        results["batch"].append(row)
        report(f"a batch of {count:,}, T = {T}, {threads} threads", row)
    bandwidth = copy_bandwidth(3 if quick else 9)
    print(f"\ncopy bandwidth: {bandwidth / 1e9:.1f} GB/s")
    for width in (152_000,) if quick else (152_000, 1_500_000, 15_000_000):
        row = whole_step(width, 5 if width < 10_000_000 else 3, bandwidth)
        results["step"].append(row)
        report(f"a whole step, T = {T}, P = {width:,}, float32", row)
    results["threads"] = []
    for count in (4096,) if quick else (4096, 65_536):
        row = over_threads(count, 9 if quick else 41, os.cpu_count() or 1)
        results["threads"].append(row)
        report(f"threads, a batch of {count:,}", row)
    if given.plot:
        plot(results, given.plot)
    if given.json:
        write_results(given.json, "min_norm", results, copy_bytes_per_second=bandwidth)


if __name__ == "__main__":
    run(main)
