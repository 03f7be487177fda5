"""Every baseline on every device with several seeds, over the machine's cores; what is finished outlives a kill."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modnas_fast.baselines import BASELINES, Problem
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.runtime.workers import worker_pool

#: after how many evaluations the curve of a run is scored, besides its end: 24 are the paper's
FIRST_SCORE, SCORE_EVERY = 24, 50

Entry = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One search: a baseline on a device with a seed."""

    method: str
    device: str
    seed: int

    @property
    def file(self) -> str:
        """Name of the file with its entry."""
        return f"{quote(self.method, safe='')}+{quote(self.device, safe='')}+{self.seed}.json"

    def execute(self, known: KnownSpace, evaluations: int) -> Entry:
        """The entry of the finished run: which rows were evaluated, and how good they are.

        Baselines that start with the same seed on the same device start with the same random numbers; another device
        gives others, so that a mean over devices is one over independent runs.
        """
        problem = Problem.on(known, self.device, evaluations)
        start = time.perf_counter()
        BASELINES[self.method](problem, zlib.crc32(f"{self.device} {self.seed}".encode()))
        seconds = time.perf_counter() - start
        steps = {FIRST_SCORE, *range(SCORE_EVERY, evaluations, SCORE_EVERY), evaluations}
        front, rows = known.fronts[self.device], problem.rows
        scores = {step: problem.score(front, step) for step in sorted(steps) if step <= evaluations}
        passed = [round(at - start, 4) for at in problem.asked_at]
        return {
            "method": self.method,
            "device": self.device,
            "seed": self.seed,
            "evaluations": len(rows),
            "seconds": round(seconds, 3),
            "rows": rows,
            "score": scores[evaluations].to_dict(),
            "curve": [[step, score.ratio] for step, score in scores.items()],
            "curve_seconds": [passed[min(step, len(passed)) - 1] if passed else None for step in scores],
        }


class Contest:
    """Runs under one budget, and the folder that keeps them: one file per finished run.

    Args:
        known: the tables.
        evaluations: budget of each run, in distinct networks.
        folder: made where it is missing; finished runs in it are not run again.

    Raises InputError where the folder holds runs of another space, task or budget.
    """

    def __init__(self, known: KnownSpace, evaluations: int, folder: Path) -> None:
        self._known = known
        self._evaluations = evaluations
        self._folder = Path(folder)
        self.settings = {"space": known.space.name, "task": known.task, "evaluations": evaluations}
        """What all runs of the folder share."""
        Problem.on(known, next(iter(known.fronts)), evaluations)  # refuses a budget that no run could spend
        file = self._folder / "settings.json"
        found = _read(file) if file.exists() else self.settings
        if found != self.settings:
            had = ", ".join(f"{key} {value}" for key, value in found.items())
            raise InputError(f"{self._folder} holds runs of {had}; give another folder for other settings")

    def entries(self) -> list[Entry]:
        """All finished runs of the folder."""
        return [_read(file) for file in sorted((self._folder / "runs").glob("*.json"))]

    def execute(
        self,
        methods: Sequence[str],
        devices: Sequence[str],
        seeds: int,
        jobs: int = 1,
        reporter: Reporter | None = None,
    ) -> None:
        """Runs what is not finished yet of methods × devices × the seeds 0, 1, …, in `jobs` processes.

        Raises InputError for an unknown method or device, before anything is written.
        """
        for method in methods:
            BASELINES.find(method)
        _check("devices", devices, self._known.fronts)
        write_json(self._folder / "settings.json", self.settings)
        every = [Run(method, device, seed) for seed, device, method in product(range(seeds), devices, methods)]
        left = [run for run in every if not (self._folder / "runs" / run.file).exists()]
        done = len(every) - len(left)
        with (reporter or Silent()).stage("Searching", len(every), done) as advance:
            for run, entry in self._executed(left, jobs):
                write_json(self._folder / "runs" / run.file, entry)
                done += 1
                advance(done)

    def _executed(self, runs: Sequence[Run], jobs: int) -> Iterator[tuple[Run, Entry]]:
        """Runs with their entries, as they end."""
        if min(jobs, len(runs)) <= 1:
            yield from ((run, run.execute(self._known, self._evaluations)) for run in runs)
            return
        with worker_pool(min(jobs, len(runs)), _know, (self._known,)) as pool:
            futures = {pool.submit(_execute_in_worker, run, self._evaluations): run for run in runs}
            for future in as_completed(futures):
                yield futures[future], future.result()


def _check(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{what}: unknown name {name!r}; available: {', '.join(known)}")


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{file} is damaged; delete it to have it made again") from None


_known_in_worker: KnownSpace


def _know(known: KnownSpace) -> None:
    global _known_in_worker
    _known_in_worker = known


def _execute_in_worker(run: Run, evaluations: int) -> Entry:
    return run.execute(_known_in_worker, evaluations)
