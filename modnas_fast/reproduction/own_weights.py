"""A reproduction whose supernets are trained here: whole runs, and black-box searches on the same weights beside.

Nobody knows the exact front of weights that were trained minutes ago. What a method found is compared with the front of
what all methods found on the same weights, each with as many evaluated networks.

settings.json        what all runs share
searches/NAME-SEED/  a run folder each
reproduction.json  reproduction.html  plots/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import moocore
import numpy as np

from modnas_fast.config import Config, make_config
from modnas_fast.evaluation.fronts import Bounds, Point, front, hypervolume
from modnas_fast.reproduction.compose import LABELS, SCHEMA
from modnas_fast.reproduction.plan import DEFAULT, About
from modnas_fast.reproduction.run import REPRODUCTION_FILE, keep_settings
from modnas_fast.reproduction.trial import Entry, Variant
from modnas_fast.result import Result
from modnas_fast.result.content import points_of
from modnas_fast.result.folder import create_run, open_run
from modnas_fast.runs.run import Run
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.progress import Reporter
from modnas_fast.runtime.stopping import Stopper

SEARCHES = "searches"
#: of all runs: the black-box searches that they are compared with
WITH_BASELINES = "evaluation.baselines=true"
MODNAS = "modnas"


@dataclass(frozen=True)
class OwnWeights:
    """What is searched, on which data, and what is told of it."""

    preset: str
    about: About
    #: where its data lies, given the reproduction's folder, in which it may be made
    data: Callable[[Path], Path]
    #: changes of the preset
    overrides: tuple[str, ...] = ()
    #: further ones of a reproduction so small that it shows nothing but that all works
    quick_overrides: tuple[str, ...] = ()
    #: what the default is compared with, on the first seed: by factor and value
    factors: dict[str, dict[str, Variant]] = field(default_factory=dict)

    @property
    def variants(self) -> list[Variant]:
        """All that differ from the default, each once."""
        found = {v.name: v for values in self.factors.values() for v in values.values() if v.name != DEFAULT.name}
        return list(found.values())


def reproduce_on_own_weights(
    experiment: OwnWeights,
    folder: Path,
    *,
    data: Path | None,
    overrides: Sequence[str],
    seeds: int,
    quick: bool,
    command: str,
    reporter: Reporter,
    stopper: Stopper,
) -> dict[str, Any]:
    """Runs what is missing in `folder` and writes reproduction.json; returns its content.

    Args:
        experiment: what is reproduced.
        folder: made where it is missing; unfinished runs in it are continued.
        data: in place of the experiment's.
        overrides: changes of every run's configuration (`a.b=c`).
        seeds: of the default; variants are searched with the first one. A quick reproduction takes the first alone.
        quick: runs so small that they show nothing but that all works.
        command: that was given, for the record.
        reporter: where progress is told.
        stopper: asked after every step; a checkpoint is written first.
    """
    chosen = range(1 if quick else seeds)
    place = (data or experiment.data(folder)).absolute()
    changes = [*experiment.overrides, WITH_BASELINES, *(experiment.quick_overrides if quick else ()), *overrides]

    def config_of(variant: Variant, seed: int) -> Config:
        return make_config(
            preset=experiment.preset, overrides=[f"task.data={place}", *changes, *variant.overrides], seed=seed
        )

    wanted = {"source": "supernet", "configuration": config_of(DEFAULT, 0).model_dump(mode="json")}
    keep_settings(folder, {**wanted, "seeds": list(chosen), "quick": quick})
    todo = [(DEFAULT, seed) for seed in chosen] + [(variant, 0) for variant in experiment.variants]
    found: dict[tuple[str, int], Result] = {}
    for number, (variant, seed) in enumerate(todo, 1):
        reporter.say(f"Search {number} of {len(todo)}: {variant.name}, seed {seed}")
        path = folder / SEARCHES / f"{variant.name}-{seed}"
        found[variant.name, seed] = _finished(path, config_of(variant, seed), reporter, stopper)
    content = _compose(experiment, found, command)
    content |= {"seeds": list(chosen), "quick": quick}
    write_json(folder / REPRODUCTION_FILE, content)
    return content


def _finished(folder: Path, config: Config, reporter: Reporter, stopper: Stopper) -> Result:
    """The result of a run, which is begun or continued where it is not there."""
    try:
        begun = open_run(folder)
    except InputError:
        run = Run(folder, config, reporter, stopper)
        run.check()
        create_run(folder, config)
        return run.execute()
    return Run(folder, begun, reporter, stopper).execute()


def _compose(experiment: OwnWeights, found: dict[tuple[str, int], Result], command: str) -> Entry:
    first, about = found[DEFAULT.name, 0], experiment.about
    defaults = [(seed, result) for (name, seed), result in found.items() if name == DEFAULT.name]
    networks = first.content["baselines"]["networks"]
    quality, cost = first.objectives[:2]
    labels = {MODNAS: "MODNAS", **{name: LABELS[name] for name in first.content["devices"][0]["baselines"]}}
    return {
        "schema": SCHEMA,
        "package": {"name": "modnas-fast", "version": version("modnas-fast")},
        "machine": first.content["machine"],
        "command": command,
        "source": "supernet",
        "benchmark": about.benchmark,
        "protocol": list(about.protocol),
        "targets": about.targets,
        "front": about.front,
        "task": first.content["task"]["name"],
        "quality": vars(quality),
        "cost": vars(cost),
        "seconds": sum(sum(result.content["seconds"].values()) for result in found.values()),
        "evaluations": networks,
        "notes": [line for seed, result in defaults for line in _notes(seed, result)],
        "devices": _devices(first),
        "methods": [
            {
                "name": name,
                "label": label,
                "evaluations_note": f"{networks}, for all devices together",
                "runs": [_run(seed, result, name) for seed, result in defaults],
            }
            for name, label in labels.items()
        ],
        "predictor": {"devices": _predicted(first, cost.key)},
        "ablations": [
            {
                "factor": factor,
                "value": value,
                "default": variant.name == DEFAULT.name,
                "runs": [_ablation(found[variant.name, 0])],
            }
            for factor, values in experiment.factors.items()
            for value, variant in values.items()
        ],
    }


# ---- one run ----


def _bounds(entry: Entry, result: Result) -> Bounds:
    low, high = zip(*(entry["hypervolume_bounds"][objective.key] for objective in result.objectives))
    return Bounds(low, high)


def _fronts(entry: Entry, result: Result) -> dict[str, list[Point]]:
    """On a device, what each method found."""
    others = {name: told["front"] for name, told in entry["baselines"].items()}
    return {
        name: front(points_of(points, result.objectives)) for name, points in {MODNAS: entry["front"], **others}.items()
    }


def _reference(entry: Entry, result: Result) -> list[Point]:
    """The front of what all methods found together on a device, with the same weights."""
    return front([point for points in _fronts(entry, result).values() for point in points])


def _normalized(points: Sequence[Point], bounds: Bounds) -> np.ndarray:
    low, high = np.array(bounds.low), np.array(bounds.high)
    normalized: np.ndarray = (np.array([point.values for point in points]) - low) / (high - low)
    return normalized[np.argsort(normalized[:, 0])]


def _score(entry: Entry, result: Result, method: str) -> Entry:
    bounds, found, reference = _bounds(entry, result), _fronts(entry, result)[method], _reference(entry, result)
    value, whole = hypervolume(found, bounds), hypervolume(reference, bounds)
    points = _normalized(found, bounds)
    return {
        "hypervolume": value,
        "ratio": value / whole if whole else 0.0,
        "igd_plus": float(moocore.igd_plus(points, ref=_normalized(reference, bounds))),
        "networks": len(found),
        "front": points[:, :2].round(5).tolist(),
    }


def _run(seed: int, result: Result, method: str) -> Entry:
    """What a method found on the weights of a run."""
    return {
        "seed": seed,
        "seconds": sum(result.content["seconds"].values()),
        "evaluations": result.content["baselines"]["networks"],
        "devices": {entry["name"]: _score(entry, result, method) for entry in result.content["devices"]},
    }


def _ablation(result: Result) -> Entry:
    entries = result.content["devices"]
    scores = {entry["name"]: _score(entry, result, MODNAS) for entry in entries}

    def mean(name: str) -> dict[str, float | None]:
        values = {s: [scores[e["name"]][name] for e in entries if e["split"] == s] for s in ("search", "unseen")}
        return {split: fmean(found) if found else None for split, found in values.items()}

    seconds = sum(result.content["seconds"].values())
    return {"seed": 0, "seconds": seconds, "ratio": mean("ratio"), "networks": mean("networks")}


def _devices(result: Result) -> list[Entry]:
    """The devices of the first seed, with the front of what all methods found there."""
    found = []
    for entry in result.content["devices"]:
        bounds, reference = _bounds(entry, result), _reference(entry, result)
        found.append({
            "name": entry["name"],
            "split": entry["split"],
            "exact_hypervolume": hypervolume(reference, bounds),
            "exact_front": _normalized(reference, bounds)[:, :2].round(5).tolist(),
            "quality_range": [bounds.low[0], bounds.high[0]],
            "cost_range": [bounds.low[1], bounds.high[1]],
        })  # fmt: skip
    return found


def _predicted(result: Result, key: str) -> Entry:
    merits = {entry["name"]: (entry["split"], entry["predictor"].get(key)) for entry in result.content["devices"]}
    return {name: {"split": split, "spearman": merit["spearman"]} for name, (split, merit) in merits.items() if merit}


def _notes(seed: int, result: Result) -> list[str]:
    """Where measurements cannot be trusted, and what became of networks that were trained from scratch."""
    notes = []
    doubtful = sum(any(not trust["trustworthy"] for trust in e["trust"].values()) for e in result.content["devices"])
    if doubtful:
        notes.append(
            f"Seed {seed}: on {doubtful} devices measurements are not trustworthy; another job ran beside them."
        )
    quality = result.objectives[0]
    for entry in result.content["verified"]:
        kind = "the known network" if entry.get("familiar") else "a network of the front"
        further = "".join(f", {name} {value:.2f}" for name, value in entry.get("measures", {}).items())
        notes.append(
            f"Seed {seed}: {kind}, {entry['architecture']}, trained from scratch: {quality.name} "
            f"{entry['test']:.2f}{' ' * bool(quality.unit)}{quality.unit}{further}; with inherited weights "
            f"{entry['inherited']:.2f}."
        )
    return notes
