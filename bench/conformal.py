"""Coverage of confident picks: how often the network that is picked keeps within the bound it was promised.

    MODNAS_DATA=FOLDER modnas-fast bench conformal [--quick] [--seeds N] [--json FILE]

A run knows the latencies of a few hundred networks of NAS-Bench-201 on HELP's 27 settings, as from a table of one's
own; the whole table then tells the true latency of what `pick --max … --confidence …` answers. Networks that the run's
table lists are known and promise nothing, so that predicted picks alone count. Beside it stands the coverage for random
networks, which is what split conformal prediction promises.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from modnas_fast import Result, search
from modnas_fast.bench.runner import Parser, count, run, write_results
from modnas_fast.evaluation.conformal import conformal_factor
from modnas_fast.reproduction.run import all_settings
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.result.confident import confident_pick
from modnas_fast.result.folder import QUALITY_FILE
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.published import HELP

LEVELS = (0.8, 0.9, 0.95)
KEY = "latency_ms"
#: budgets per device, between the cheapest and the dearest tenth of all networks
BUDGETS = 40
UNSEEN = 7
#: random networks per device, of which the promise is counted
RANDOM = 2000

Latencies = dict[str, dict[str, float]]


def true_latencies() -> Latencies:
    """By device and network, of the whole table."""
    names = all_settings()
    known = load_benchmark("cifar10", HELP, names, [], ["latency"]).table
    return {name: dict(zip(known.architectures, known.values[name][:, 0].tolist(), strict=True)) for name in names}


def write_table(file: Path, true: Latencies, networks: int, generator: torch.Generator) -> None:
    """A table of one's own: the latencies of random networks, and of the reference networks that a run wants."""
    texts = sorted(next(iter(true.values())))
    drawn = [texts[row] for row in torch.randperm(len(texts), generator=generator)[:networks].tolist()]
    chosen = list(dict.fromkeys([*NB201Space().references, *drawn]))
    lines = [f"{text},{device},{costs[text]!r}" for device, costs in true.items() for text in chosen]
    file.write_text("\n".join([f"architecture,device,{KEY}", *lines]), encoding="utf-8")


def searched(folder: Path, true: Latencies, networks: int, seed: int, quick: bool) -> Result:
    """A run on such a table, with some devices unseen."""
    generator = torch.Generator().manual_seed(seed)
    write_table(folder / "own.csv", true, networks, generator)
    order = torch.randperm(len(true), generator=generator).tolist()
    unseen = [list(true)[place] for place in order[:UNSEEN]]
    overrides = [
        f"devices.table={folder / 'own.csv'}",
        f"devices.unseen=[{','.join(unseen)}]",
        f"devices.networks={networks}",
        "devices.heldout=60",
        "report.plots=false",
        *(["predictor.steps=300", "search.steps=30", "search.refine_steps=60"] if quick else []),
    ]
    return search(preset="nb201", out=folder / "run", seed=seed, overrides=overrides)


def picked(result: Result, true: Latencies) -> Iterator[dict[str, Any]]:
    """Per device, level and budget: whether the pick, where it was predicted, keeps within its bound."""
    for device in result.devices.values():
        costs = sorted(true[device.name].values())
        low, high = costs[0], costs[int(0.9 * len(costs))]
        for level in LEVELS:
            for place in range(1, BUDGETS + 1):
                budget = low + (high - low) * place / BUDGETS
                try:
                    found = confident_pick(result, device.name, {KEY: budget}, level)
                except InputError:
                    continue  # nothing is known to be within
                if found.pick.costs[KEY].source == "predicted":
                    latency = true[device.name][found.pick.text]
                    yield {
                        "device": device.name,
                        "split": device.split,
                        "level": level,
                        "kept": latency <= found.bounds[KEY],
                        "within": latency <= budget,
                    }


def at_random(result: Result, true: Latencies, seed: int) -> dict[float, float]:
    """By level, the share of random networks that keep within their bounds, mean over devices."""
    quality = json.loads((result.run / QUALITY_FILE).read_text(encoding="utf-8"))["devices"]
    generator = torch.Generator().manual_seed(seed + 1)
    texts = [a.text for a in result.space.decode(result.space.sample(RANDOM, generator))]
    shares = defaultdict(list)
    for device in result.devices.values():
        told = quality[device.name]["costs"][KEY]
        answers = result.reference.listed(device, texts)
        known = [a.costs[KEY] for a in answers]
        for level in LEVELS:
            factor = conformal_factor(told["predicted"], told["measured"], level)
            kept = [
                true[device.name][text] <= factor * cost.value
                for text, cost in zip(texts, known, strict=True)
                if cost.source == "predicted"
            ]
            shares[level].append(fmean(kept))
    return {level: fmean(values) for level, values in shares.items()}


def main(argv: list[str] | None = None) -> None:
    """Prints coverage by level, of picks and of random networks."""
    parser = Parser("conformal", str(__doc__))
    parser.add_argument("--quick", action="store_true", help="one seed, and a short search")
    parser.add_argument("--seeds", type=count, default=3, help="runs; default 3")
    parser.add_argument(
        "--networks", type=count, default=300, help="that the run's table lists per device; default 300"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    true, rows, random = true_latencies(), [], []
    for seed in range(1 if options.quick else options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            result = searched(Path(folder), true, options.networks, seed, options.quick)
            rows += [{"seed": seed, **row} for row in picked(result, true)]
            random.append(at_random(result, true, seed))
    print(f"{'level':<8}{'random networks':>17}{'picks':>8}{'in budget':>11}{'unseen picks':>14}{'count':>7}")
    table = []
    for level in LEVELS:
        of = [row for row in rows if row["level"] == level]
        unseen = [row["kept"] for row in of if row["split"] == "unseen"]
        table.append({
            "level": level,
            "random": fmean(each[level] for each in random),
            "picks": fmean(row["kept"] for row in of),
            "within_budget": fmean(row["within"] for row in of),
            "unseen_picks": fmean(unseen) if unseen else None,
            "count": len(of),
        })  # fmt: skip
        row = table[-1]
        print(
            f"{level:<8.0%}{row['random']:>17.1%}{row['picks']:>8.1%}{row['within_budget']:>11.1%}"
            f"{row['unseen_picks'] or 0:>14.1%}{row['count']:>7}"
        )
    if options.json:
        write_results(options.json, "conformal", table, networks=options.networks, quick=options.quick)


if __name__ == "__main__":
    run(main)
