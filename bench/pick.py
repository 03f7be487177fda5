"""Questions to a finished run: answers.npz by NumPy beside the run's parts in torch, its reference, in turns.

    modnas-fast bench pick RUN [--quick] [--json FILE] [--threads N]

RUN is the folder of a finished run. Every question has been asked before on its device, so that what is worked out once
is there on both sides; "first" is the first one of a new process without its imports. Both must answer alike.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from modnas_fast import Device, Result
from modnas_fast.bench.runner import Parser, count, medians, run, shown, write_results
from modnas_fast.runtime.errors import InputError

#: questions of a turn: one takes microseconds
CALLS = 200
Question = Callable[[], object]


def new_device(result: Result, number: int = 0) -> Device:
    """A device that the run never saw: the first one, with each reference network a little dearer."""
    base, width, costs = next(iter(result.devices.values())), len(result.references), {}
    for column, cost in enumerate(result.costs):
        low, high = base.ranges[cost.name]
        part = base.embedding[column * width : (column + 1) * width]
        costs[cost.key] = [
            (low + (high - low) * share) * (1 + 0.02 * ((place + number) % 7)) for place, share in enumerate(part)
        ]
    asked = {cost.key: costs[cost.key] for cost in result.asked_of_devices}
    return replace(result.unseen_device("new", asked), name=f"new {number}")


def questions(result: Result) -> dict[str, tuple[Question, Question]]:
    """By name, each question to the file and to the reference."""
    asked: dict[str, tuple[Question, Question]] = {}
    for kind, device in (
        ("a device of the run", next(iter(result.devices.values()))),
        ("a new device", new_device(result)),
    ):
        limits = {cost.key: sum(device.ranges[cost.name]) / 2 for cost in result.costs}
        weights = [1.0 + place for place in range(len(result.objectives))]
        asked[f"budget, {kind}"] = (
            lambda device=device, limits=limits: result.pick(device, max=limits),
            lambda device=device, limits=limits: result.reference.within(device, limits, 1)[0],
        )
        asked[f"preference, {kind}"] = (
            lambda device=device, weights=weights: result.pick(device, preference=weights),
            lambda device=device, weights=weights: result.reference.preferred(device, weights),
        )
    return asked


def first_questions(folder: Path) -> dict[str, float]:
    """Seconds of what is done once: opening, and the first question of each kind on a device."""
    begun = time.perf_counter()
    result = Result.load(folder)
    seconds = {"open": time.perf_counter() - begun}
    device = new_device(result, 1)
    limits = {cost.key: sum(device.ranges[cost.name]) / 2 for cost in result.costs}
    for name, options in (("budget", {"max": limits}), ("preference", {"preference": [1.0] * len(result.objectives)})):
        begun = time.perf_counter()
        result.pick(device, **options)
        seconds[f"first {name}"] = time.perf_counter() - begun
    return seconds


def commands(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of whole commands, from start to end of the process."""
    name = next(iter(Result.load(folder).devices))
    weights = ",".join(["1"] * len(Result.load(folder).objectives))
    program = [sys.executable, "-c", "from modnas_fast.cli.app import main; main()"]
    asked = {
        "modnas-fast pick": ["pick", str(folder), "--device", name, "--preference", weights],
        "modnas-fast --help": ["--help"],
    }

    def call(words: list[str]) -> Question:
        return lambda: subprocess.run([*program, *words], check=True, capture_output=True)

    return medians({name: call(words) for name, words in asked.items()}, rounds)


def main(arguments: list[str] | None = None) -> None:
    """Compares, prints."""
    parser = Parser("pick", __doc__ or "")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run with answers.npz")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--rounds", type=count, default=25, help="turns of each; default: 25")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    rounds = 3 if given.quick else given.rounds
    result = Result.load(given.run)
    if result._from_file is None:
        raise InputError(f"bench pick: {given.run} has no answers.npz of its result; modnas-fast report {given.run}")
    results: dict[str, Any] = {"questions": {}}
    for name, (ours, reference) in questions(result).items():
        if str(ours()) != str(reference()):
            raise InputError(f"bench pick: {name}: the file answers {ours()}, the reference {reference()}")
        times = medians({"ours": ours}, rounds, calls=CALLS) | medians({"reference": reference}, rounds)
        results["questions"][name] = times
        ratio = times["reference"] / times["ours"]
        print(f"{name:<34}{shown(times['ours']):>9}   reference {shown(times['reference']):>9}   {ratio:6.0f} times")
    results["once"] = first_questions(given.run)
    results["commands"] = commands(given.run, 3 if given.quick else 7)
    for name, seconds in (*results["once"].items(), *results["commands"].items()):
        print(f"{name:<34}{shown(seconds):>9}")
    if given.json:
        write_results(given.json, "pick", results)


if __name__ == "__main__":
    run(main)
