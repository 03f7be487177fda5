"""The content of reproduction.json, from the entries of finished trials and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modnas_fast.devices import fingerprint
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.reproduction.plan import DEFAULT, NB201, About, Plan
from modnas_fast.reproduction.trial import Entry, Group, entries
from modnas_fast.runtime.objective import costs_of
from modnas_fast.search.shared_searches import SHARED_SEARCHES

#: of reproduction.json, see report.reproduction.contents
SCHEMA = 1
WHOLE_NOTE = (
    "MODNAS answers preferences, 24 where the protocol asks for so many. All evaluated: these, and what its archive "
    "and its queried networks have beside them on the front of a device, by its own predictions."
)
SHARED_NOTE = (
    "Shared searches ask for as many qualities as MODNAS for all devices together, each of which serves every device; "
    "they know the same costs, the predictors tell the rest, and all that they asked for is their answer. The Gaussian "
    "process asks for the largest expected gain of hypervolume over all devices together."
)
LABELS = {
    "random": "Random search",
    "random-hypernet": "Random hypernetwork",
    "nsga2": "NSGA-II",
    "tpe": "TPE",
    "gp": "Gaussian process",
    "local-search": "Local search",
    "evolution": "Regularised evolution",
}


def compose(
    plan: Plan,
    folder: Path,
    benchmark: Benchmark,
    baseline_entries: Sequence[Entry],
    evaluations: int,
    command: str,
    seconds: float,
) -> Entry:
    """Everything of a reproduction with the surrogate.

    Args:
        plan: whose groups are finished.
        folder: with their entries.
        benchmark: the main one.
        baseline_entries: finished runs, see `baselines.contest`.
        evaluations: of each baseline on each device.
        command: that was given.
        seconds: wall clock of everything.
    """
    main = [entries(group, folder) for group in plan.main]
    return {
        **head("surrogate", benchmark, command, seconds, plan.about),
        "seeds": list(plan.seeds),
        "quick": plan.quick,
        "evaluations": main[0][DEFAULT.name]["evaluations"],
        "notes": [*plan.notes, WHOLE_NOTE, *([SHARED_NOTE] if main[0][DEFAULT.name].get("shared") else [])],
        "methods": _methods(plan, folder, main, baseline_entries, evaluations),
        "predictor": main[0][DEFAULT.name]["predictor"],
        "ablations": _ablations(plan, main),
        "transfer": [{"task": t, "runs": _default_runs(groups, folder)} for t, groups in plan.transfer.items()],
        "splits": [
            {
                "search": list(group.search or ()),
                "unseen": list(group.unseen or ()),
                "runs": _default_runs([group], folder),
            }
            for group in plan.splits
        ],
        "three_objectives": _three_objectives(plan.three, folder),
    }


def head(source: str, benchmark: Benchmark, command: str, seconds: float, about: About = NB201) -> Entry:
    """What every reproduction tells first: package, machine, command, devices with their exact fronts."""
    cost = costs_of(benchmark.table.metrics)[0]
    return {
        "schema": SCHEMA,
        "package": {"name": "modnas-fast", "version": version("modnas-fast")},
        "machine": fingerprint().to_dict(),
        "command": command,
        "source": source,
        "benchmark": about.benchmark,
        "protocol": list(about.protocol),
        "targets": about.targets,
        "front": about.front,
        "task": benchmark.task,
        "judged": benchmark.judge is not None,
        "exact_cost": benchmark.part_table is not None,
        "quality": vars(benchmark.quality),
        "cost": vars(cost),
        "seconds": seconds,
        "devices": _devices(benchmark),
    }


def _devices(benchmark: Benchmark) -> list[Entry]:
    found = []
    for device in benchmark.devices:
        table = benchmark.fronts[device.name]
        found.append(
            {
                "name": device.name,
                "split": device.split,
                "exact_hypervolume": table.hypervolume,
                "exact_front": table.values[table.rows].round(5).tolist(),
                "measured_hypervolume": table.measured.hypervolume if table.measured else None,
                "quality_range": [float(table.low[0]), float(table.high[0])],
                "cost_range": [float(table.low[1]), float(table.high[1])],
            }
        )
    return found


def _default_runs(groups: Sequence[Group], folder: Path) -> list[Entry]:
    return [entries(group, folder)[DEFAULT.name] for group in groups]


def _methods(
    plan: Plan, folder: Path, main: Sequence[dict[str, Entry]], baselines: Sequence[Entry], evaluations: int
) -> list[Entry]:
    queries = main[0][DEFAULT.name]["evaluations"]
    together = f"{queries} for all devices together"
    methods = [
        _method("modnas", "MODNAS, default", together, [found[DEFAULT.name] for found in main]),
        _method("modnas-all", "MODNAS, all evaluated", together, [found[DEFAULT.name]["whole"] for found in main]),
        _method("paper", "MODNAS, paper's combination", together, _default_runs(plan.paper, folder)),
    ]
    for name in SHARED_SEARCHES:
        runs = [found[DEFAULT.name].get("shared", {}).get(name) for found in main]
        if all(runs):
            methods.append(_method(f"shared-{name}", f"{LABELS[name]}, shared", together, runs))
    for name in plan.baselines:
        runs = [_baseline_run(name, seed, baselines) for seed in plan.seeds]
        note = f"{evaluations} per device, {runs[0]['evaluations']:,} together"
        methods.append(_method(name, LABELS.get(name, name), note, runs))
    return methods


def _method(name: str, label: str, note: str, runs: Sequence[Entry]) -> Entry:
    return {"name": name, "label": label, "evaluations_note": note, "runs": list(runs)}


def _baseline_run(method: str, seed: int, found: Sequence[Entry]) -> Entry:
    """One run of a baseline over all devices, as it stands in `methods`."""
    of_seed = [entry for entry in found if entry["method"] == method and entry["seed"] == seed]
    return {
        "seed": seed,
        "seconds": sum(entry["seconds"] for entry in of_seed),
        "evaluations": sum(entry["evaluations"] for entry in of_seed),
        "devices": {entry["device"]: {**entry["score"], "front": entry["front"]} for entry in of_seed},
        "parts": {entry["device"]: entry["parts"] for entry in of_seed if entry["parts"]},
        "curve": _baseline_curve(of_seed),
    }


def _baseline_curve(of_seed: Sequence[Entry]) -> list[Entry]:
    """Mean ratios by evaluations of all devices together."""
    points = []
    for step, (evaluations, _) in enumerate(of_seed[0]["curve"]):
        ratio = {}
        for split in ("search", "unseen"):
            values = [entry["curve"][step][1] for entry in of_seed if entry["split"] == split]
            ratio[split] = sum(values) / len(values) if values else None
        points.append({"seconds": None, "evaluations": evaluations * len(of_seed), "ratio": ratio})
    return points


def _ablations(plan: Plan, main: Sequence[dict[str, Entry]]) -> list[Entry]:
    return [
        {
            "factor": factor,
            "value": value,
            "default": variant == DEFAULT,
            "runs": [_ablation_run(found[variant.name]) for found in main],
        }
        for factor, values in plan.factors.items()
        for value, variant in values.items()
    ]


def _ablation_run(entry: Entry) -> Entry:
    names = ("seed", "ratio", "networks", "gradient_cosine", "weights_spread")
    return {**{name: entry[name] for name in names}, "seconds": entry["search_seconds"]}


def _three_objectives(groups: Sequence[Group], folder: Path) -> dict[str, Any] | None:
    if not groups:
        return None
    benchmark = groups[0].benchmark()
    return {
        "devices": [device.name for device in benchmark.devices],
        "objectives": [benchmark.quality.name, *benchmark.table.metrics],
        "exact_hypervolume": {name: table.hypervolume for name, table in benchmark.fronts.items()},
        "exact_front": {n: table.values[table.rows].round(5).tolist() for n, table in benchmark.fronts.items()},
        "runs": _default_runs(groups, folder),
    }
