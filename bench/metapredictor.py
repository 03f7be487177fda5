"""Ranking and speed of the metapredictors on published tables of all 15,625 cells of NAS-Bench-201.

    MODNAS_DATA=FOLDER modnas-fast bench metapredictor [--quick] [--json FILE] [--threads N]

Each predictor sees 900 random networks on every search device and the ten reference networks of the others; it is
judged on every network. The split is that of the paper; further ones are random halves of HELP's 27 settings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.bench.runner import Parser, count, medians, run, source_folder, write_results
from modnas_fast.predictors.graph_predictor import GraphMetaPredictor, PlainGraphPredictor, adapt, train_graph_predictor
from modnas_fast.predictors.metapredictor import predictor_quality
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.nb201.published import PAPER_SEARCH, PAPER_UNSEEN

source_folder([], "metapredictor")
from cost_tables import SPACE, Costs, help_latencies, pi5_energies

NETWORKS = 900
Make = Callable[..., nn.Module]
VARIANTS: dict[str, tuple[Make, float]] = {
    "graph": (GraphMetaPredictor, 5e-3),
    "graph, hidden 100, 3 rounds": (partial(GraphMetaPredictor, hidden=100, layers=3), 3e-3),
    "counts alone": (partial(GraphMetaPredictor, layers=0), 1e-2),
    "HELP's structure": (PlainGraphPredictor, 1e-3),
    "graph, live operations only": (partial(GraphMetaPredictor, executes="live"), 5e-3),
}


def trained(name: str, table: Costs, seed: int, steps: int) -> tuple[nn.Module, float]:
    """A predictor trained on the devices of the table, and the seconds it took."""
    make, learning_rate = VARIANTS[name]
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(table.onehot), generator=generator)[:NETWORKS]
    predictor = make(SPACE, table.d.shape[-1], generator=generator)
    start = time.perf_counter()
    train_graph_predictor(
        predictor,
        table.onehot[rows],
        table.d,
        table.cost[rows],
        steps=steps,
        learning_rate=learning_rate,
        generator=generator,
    )
    return predictor, time.perf_counter() - start


def quality(predicted: Tensor, table: Costs) -> list[dict[str, Any]]:
    """Per device, of predictions [A, T] for every network; relative errors are in the metric's own unit."""
    found = []
    for device, guess, cost in zip(table.devices, predicted.T, table.cost.T, strict=True):
        values = device.denormalize(cost, table.metric).tolist()
        guesses = device.denormalize(guess, table.metric).tolist()
        misses = [abs(p - m) / m for p, m in zip(guesses, values, strict=True)]
        scores = asdict(predictor_quality(guesses, values))
        found.append({"device": device.name, **scores, "median_error": median(misses)})
    return found


def adapted(predictor: GraphMetaPredictor, table: Costs) -> Tensor:
    """Predictions [A, T], each device's after adaptation to its ten reference networks."""
    references = table.onehot[table.references]
    costs = table.cost[table.references].T
    own = [adapt(predictor, references, cost, d) for cost, d in zip(costs, table.d, strict=True)]
    return torch.stack([one(table.onehot, d) for one, d in zip(own, table.d, strict=True)], dim=1)


def judged(name: str, search: Costs, unseen: Costs | None, seed: int, steps: int) -> dict[str, Any]:
    predictor, seconds = trained(name, search, seed, steps)
    row: dict[str, Any] = {"predictor": name, "seed": seed, "steps": steps, "seconds": seconds}
    row["search"] = quality(predictor(search.onehot[:, None], search.d), search)
    if unseen:
        row["unseen"] = quality(predictor(unseen.onehot[:, None], unseen.d), unseen)
        if isinstance(predictor, GraphMetaPredictor):
            row["adapted"] = quality(adapted(predictor, unseen), unseen)
    return row


def mean(rows: Sequence[dict[str, Any]], split: str, key: str = "spearman") -> float:
    return fmean(device[key] for row in rows for device in row[split])


def summary(title: str, rows: Sequence[dict[str, Any]]) -> None:
    parts = [f"{split} {mean(rows, split):.4f}" for split in ("search", "unseen", "adapted") if split in rows[0]]
    seconds = median(row["seconds"] for row in rows)
    print(f"{title:<32} Spearman: {', '.join(parts)}; {seconds:.1f} s to train", flush=True)


def per_device(rows: Sequence[dict[str, Any]]) -> None:
    for split in ("search", "unseen", "adapted"):
        print(f"\n{split:<16}{'Spearman':>10}{'Kendall':>10}{'median error':>14}")
        for i, device in enumerate(rows[0][split]):
            values = [fmean(row[split][i][key] for row in rows) for key in ("spearman", "kendall", "median_error")]
            print(f"{device['device']:<16}{values[0]:>10.3f}{values[1]:>10.3f}{values[2]:>13.1%}")
    print(flush=True)


def random_split(table: Costs, seed: int) -> tuple[Costs, Costs]:
    names = [device.name for device in table.devices]
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [names[i] for i in order]
    return table.only(shuffled[: len(PAPER_SEARCH)]), table.only(shuffled[len(PAPER_SEARCH) :])


def speed(table: Costs, rounds: int) -> dict[str, float]:
    """Seconds of the whole space on the search devices, and of a search step's share, forward and backward."""
    predictor = GraphMetaPredictor(SPACE, table.d.shape[-1], generator=torch.Generator()).requires_grad_(False)
    few = table.onehot[:50].clone().requires_grad_()

    @torch.no_grad()
    def whole() -> Tensor:
        return predictor(table.onehot[:, None], table.d)

    def step() -> None:
        predictor(few[:, None], table.d).sum().backward()

    return medians({"15,625 networks": whole, "50 networks, forward and backward": step}, rounds)


def main(arguments: list[str] | None = None) -> None:
    """Trains, judges, prints."""
    parser = Parser("metapredictor", __doc__)
    parser.add_argument("--quick", action="store_true", help="one seed of the default predictor, on the paper's split")
    parser.add_argument("--steps", type=count, default=1500, help="of training; default: 1500")
    given = parser.parse_args(arguments)
    if "MODNAS_DATA" not in os.environ:
        raise InputError("bench metapredictor: MODNAS_DATA must name the folder that holds nb201/")
    torch.set_num_threads(given.threads)
    folder, steps, quick = Path(os.environ["MODNAS_DATA"]), given.steps, given.quick
    table = help_latencies(folder)
    search, unseen = table.only(PAPER_SEARCH), table.only(PAPER_UNSEEN)
    results: dict[str, Any] = {"paper": [], "random": [], "energy": []}
    for name in list(VARIANTS)[: 1 if quick else None]:
        rows = [judged(name, search, unseen, seed, steps) for seed in range(3 if name == "graph" and not quick else 1)]
        results["paper"] += rows
        if name == "graph":
            per_device(rows)
        summary(name, rows)
    if not quick:
        results["random"] = [judged("graph", *random_split(table, seed), seed, steps) for seed in range(4)]
        summary("graph, random splits", results["random"])
        energies = pi5_energies(folder)
        results["energy"] = [
            judged(name, energies, None, 0, steps) for name in ("graph", "graph, live operations only")
        ]
        for row in results["energy"]:
            summary(f"energy: {row['predictor']}", [row])
    results["speed"] = speed(search, 9)
    for what, seconds in results["speed"].items():
        print(f"{what}, {len(PAPER_SEARCH)} devices: {1e3 * seconds:.1f} ms")
    if given.json:
        write_results(given.json, "metapredictor", results, networks=NETWORKS)


if __name__ == "__main__":
    run(main)
