"""A whole reproduction in its folder: what is finished there is not run again.

settings.json        what all parts share
trials/*.json        one entry per search of the hypernetwork
baselines/           runs of the black-box searches, see `baselines.contest`
reproduction.json  reproduction.html  plots/
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any

from modnas_fast.baselines import BASELINES
from modnas_fast.baselines.contest import Contest
from modnas_fast.datasets.home import locate
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.exact import front_of
from modnas_fast.reproduction.compose import compose
from modnas_fast.reproduction.covered import published_entry
from modnas_fast.reproduction.gpt_plan import make_gpt_plan
from modnas_fast.reproduction.hat_benchmark import REFERENCE_EVALUATIONS, find_reference
from modnas_fast.reproduction.hat_plan import make_hat_plan
from modnas_fast.reproduction.plan import DEFAULT, Plan, make_plan
from modnas_fast.reproduction.reference import REFERENCE_FILE
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.reproduction.trial import Entry, missing, run_group
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.runtime.progress import Reporter
from modnas_fast.runtime.workers import worker_pool
from modnas_fast.search.divided import Divided
from modnas_fast.spaces.hat.published_networks import NETWORKS, PublishedNetwork

REPRODUCTION_FILE = "reproduction.json"
SETTINGS_FILE = "settings.json"
#: between looks at what the workers have finished
POLL_SECONDS = 2.0
#: true evaluations of a baseline on each device, as many as MODNAS has for all together
BASELINE_EVALUATIONS = 300
#: differences from a folder's settings that are told at most
TOLD = 3


def reproduce_with_surrogate(
    folder: Path, *, seeds: int, quick: bool, jobs: int, command: str, reporter: Reporter
) -> dict[str, Any]:
    """Runs what is missing in `folder` and writes reproduction.json; returns its content.

    Args:
        folder: made where it is missing; the same settings continue it.
        seeds: of every search.
        quick: see `plan.make_plan`.
        jobs: processes.
        command: that was given, for the record.
        reporter: where progress is told.

    Raises InputError where the folder holds a reproduction with other settings, and where tables are missing.
    """
    plan = make_plan(all_settings(), list(BASELINES), seeds, quick)
    return reproduce_plan(folder, plan, load_benchmark(), {}, jobs=jobs, command=command, reporter=reporter)


def reproduce_gpt(
    folder: Path, *, scale: str, seeds: int, quick: bool, jobs: int, command: str, reporter: Reporter
) -> dict[str, Any]:
    """The same on HW-GPT-Bench: see `reproduce_with_surrogate`.

    Args:
        scale: s or l.
        folder, seeds, quick, jobs, command, reporter: see there.
    """
    plan = make_gpt_plan(scale, seeds, quick)
    benchmark = plan.main[0].benchmark()
    return reproduce_plan(
        folder, plan, benchmark, {"benchmark": "gpt", "scale": scale}, jobs=jobs, command=command, reporter=reporter
    )


def reproduce_hat(
    folder: Path, *, seeds: int, quick: bool, jobs: int, command: str, reporter: Reporter
) -> dict[str, Any]:
    """The same on HAT's tables of latency and a judge of BLEU, with HAT's published networks beside the fronts.

    Args:
        folder, seeds, quick, jobs, command, reporter: see `reproduce_with_surrogate`.
    """
    reference = folder.absolute() / REFERENCE_FILE
    plan = make_hat_plan(str(reference), seeds, quick)
    find_reference(reference, plan.main[0].config(DEFAULT), REFERENCE_EVALUATIONS, reporter)
    benchmark = plan.main[0].benchmark()
    return reproduce_plan(
        folder,
        plan,
        benchmark,
        {"benchmark": "hat"},
        jobs=jobs,
        command=command,
        reporter=reporter,
        published=NETWORKS,
    )


def reproduce_plan(
    folder: Path,
    plan: Plan,
    benchmark: Benchmark,
    settings: dict[str, Any],
    *,
    jobs: int,
    command: str,
    reporter: Reporter,
    published: Sequence[PublishedNetwork] = (),
) -> dict[str, Any]:
    """Runs what is missing of a plan in `folder` and writes reproduction.json; returns its content.

    Args:
        folder: made where it is missing; the same settings continue it.
        plan: the searches.
        benchmark: of the main group.
        settings: what else tells this reproduction from others.
        jobs, command, reporter: see `reproduce_with_surrogate`.
        published: networks that are shown beside the fronts.
    """
    start = time.monotonic()
    wanted = {"source": "surrogate", "seeds": list(plan.seeds), "quick": plan.quick, **settings}
    settings = keep_settings(folder, wanted)
    run_groups(plan, folder / "trials", jobs, reporter)
    baselines = run_baselines(plan, benchmark, folder / "baselines", jobs, reporter)
    settings["seconds"] += time.monotonic() - start
    write_json(folder / SETTINGS_FILE, settings)
    evaluations = evaluations_of(plan)
    content = compose(plan, folder / "trials", benchmark, baselines, evaluations, command, settings["seconds"])
    if published:
        content["published"] = published_entry(benchmark, published, content["methods"])
    write_json(folder / REPRODUCTION_FILE, content)
    return content


def all_settings() -> list[str]:
    """Names of all device settings of HELP's table."""
    return sorted(file.stem for file in locate("nb201/help-latency/1080ti_1.pt").parent.glob("*.pt"))


def keep_settings(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The settings in the folder with the seconds spent so far, written where they are new.

    Raises InputError where they differ from those wanted.
    """
    file = folder / SETTINGS_FILE
    if not file.exists():
        write_json(file, {**wanted, "seconds": 0.0})
    try:
        found = read_json(file)
        seconds = found.pop("seconds")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InputError(f"{file} is damaged; delete it to continue with the settings given") from None
    if found != wanted:
        other, same = _flat(found), _flat(wanted)
        had = ", ".join([f"{key} {value}" for key, value in other.items() if same.get(key) != value][:TOLD])
        raise InputError(f"--out: {folder} holds a reproduction with {had or 'other settings'}; give another folder")
    return {**found, "seconds": seconds}


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value})
    return flat


def run_groups(plan: Plan, folder: Path, jobs: int, reporter: Reporter) -> None:
    """Runs the groups with missing entries in `jobs` processes."""
    total = sum(len(group.variants) for group in plan.groups)

    def finished() -> int:
        return total - sum(len(missing(group, folder)) for group in plan.groups)

    left = [group for group in plan.groups if missing(group, folder)]
    with reporter.stage("Searching with MODNAS", total, finished()) as advance:
        if not left:
            return
        with worker_pool(min(jobs, len(left))) as pool:
            running = {pool.submit(run_group, group, folder) for group in left}
            while running:
                ended, running = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                advance(finished())


def run_baselines(plan: Plan, benchmark: Benchmark, folder: Path, jobs: int, reporter: Reporter) -> list[Entry]:
    """Entries of the plan's baselines on all devices, each with the device's split and its front."""
    contest = Contest(benchmark.known_space(), evaluations_of(plan), folder)
    splits = {device.name: device.split for device in benchmark.devices}
    contest.execute(plan.baselines, list(splits), len(plan.seeds), jobs, reporter)
    divided = Divided(benchmark) if benchmark.space.dividing else None
    found = []
    for entry in contest.entries():
        device = entry["device"]
        if entry["method"] in plan.baselines and entry["seed"] in plan.seeds and device in splits:
            inside = divided.of_rows(device, entry["rows"]) if divided else {}
            found.append(
                {
                    **entry,
                    "split": splits[device],
                    "front": front_points(benchmark, device, entry["rows"]),
                    "parts": {part: score.to_dict() for part, score in inside.items()},
                }
            )
    return found


def evaluations_of(plan: Plan) -> int:
    """True evaluations of a baseline on each device."""
    return BASELINE_EVALUATIONS if plan.evaluations is None else plan.evaluations


def front_points(benchmark: Benchmark, device: str, rows: Sequence[int] | Sequence[str]) -> list[list[float]]:
    """Normalised objectives of the non-dominated ones among rows of the table, or strings of judged networks."""
    table = benchmark.fronts[device]
    if benchmark.is_open:
        onehot = benchmark.space.encode([benchmark.space.parse(str(text)) for text in rows])
        return front_of(benchmark.judged_points(device, onehot)).round(5).tolist()
    return table.values[table.front([int(row) for row in rows])].round(5).tolist()
