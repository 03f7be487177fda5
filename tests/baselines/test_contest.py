"""Contests: entries that can be checked, the same over any number of processes, and continued after a kill."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from modnas_fast.baselines.contest import Contest
from modnas_fast.baselines.standings import standings
from modnas_fast.evaluation.known_space import KnownSpace
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent

METHODS = ["random", "local-search", "evolution"]


@pytest.fixture(scope="module")
def known(made_up: Any) -> KnownSpace:
    fronts = {"pixel3": made_up.smooth(0), "my/phone": made_up.smooth(1)}
    return KnownSpace(made_up.space, "cifar10", made_up.architectures, fronts)


def timeless(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if "seconds" not in key} for entry in entries]


@pytest.fixture(scope="module")
def finished(known: KnownSpace, tmp_path_factory: pytest.TempPathFactory) -> Contest:
    contest = Contest(known, 120, tmp_path_factory.mktemp("contest"))
    contest.execute(METHODS, list(known.fronts), 2)
    return contest


def test_an_entry_tells_what_was_evaluated_and_how_good_it_is(known: KnownSpace, finished: Contest) -> None:
    entries = finished.entries()
    assert len(entries) == 3 * 2 * 2
    for entry in entries:
        front = known.fronts[entry["device"]]
        assert entry["evaluations"] == len(entry["rows"]) == len(set(entry["rows"])) == 120
        assert entry["score"] == front.score(entry["rows"]).to_dict()
        assert [step for step, _ in entry["curve"]] == [24, 50, 100, 120]
        assert all(ratio == front.score(entry["rows"][:step]).ratio for step, ratio in entry["curve"])
        times = entry["curve_seconds"]
        assert len(times) == 4 and times == sorted(times) and 0 <= times[-1] <= entry["seconds"] + 1e-3
    starts = {(e["device"], e["seed"]): e["rows"][:24] for e in entries if e["method"] == "random"}
    assert len({tuple(rows) for rows in starts.values()}) == 4, "every device and seed has random numbers of its own"


def test_standings_are_means_over_devices_and_seeds(finished: Contest) -> None:
    entries = finished.entries()
    summary = standings(entries)
    assert list(summary) == METHODS
    mine = [entry for entry in entries if entry["method"] == "evolution"]
    searched = [entry["score"]["ratio"] for entry in mine if entry["device"] == "pixel3"]
    line = summary["evolution"]
    assert line["ratio_search"] == pytest.approx(sum(searched) / 2) and line["runs"] == 4
    assert line["worst"] == min(entry["score"]["ratio"] for entry in mine) <= line["ratio_unseen"]
    assert standings([entry for entry in mine if entry["device"] == "pixel3"])["evolution"]["ratio_unseen"] is None


class StopsAfter(Silent):
    """A reporter under which the contest is stopped after some runs."""

    def __init__(self, runs: int) -> None:
        self.left = runs

    def stage(self, title: str, total: int, begun: int = 0) -> Any:
        return nullcontext(self._advance)

    def _advance(self, done: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_a_stopped_contest_goes_on_and_ends_the_same(known: KnownSpace, finished: Contest, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Contest(known, 120, tmp_path).execute(METHODS, list(known.fronts), 2, reporter=StopsAfter(5))
    contest = Contest(known, 120, tmp_path)
    first = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    assert len(first) == len(contest.entries()) == 5
    contest.execute(METHODS, list(known.fronts), 2)
    assert timeless(contest.entries()) == timeless(finished.entries())
    assert all(file.stat().st_mtime_ns == time for file, time in first.items()), "finished runs are not run again"


def test_more_methods_devices_and_seeds_add_to_a_folder(known: KnownSpace, tmp_path: Path) -> None:
    contest = Contest(known, 30, tmp_path)
    contest.execute(["random"], ["pixel3"], 1)
    contest.execute(["evolution"], ["my/phone"], 2)
    assert [(e["method"], e["device"], e["seed"]) for e in contest.entries()] == [
        ("evolution", "my/phone", 0), ("evolution", "my/phone", 1), ("random", "pixel3", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("evaluations", "methods", "devices", "text"),
    [
        (31, ["random"], ["pixel3"], "holds runs of space nb201, task cifar10, evaluations 30; give another folder"),
        (
            30,
            ["best"],
            ["pixel3"],
            "methods: wanted 'random', 'random-hypernet', .* or package.module:object, got 'best'",
        ),
        (30, ["random"], ["pixel9"], "devices: unknown name 'pixel9'; available: pixel3, my/phone"),
        (0, ["random"], ["pixel3"], "evaluations: wanted 1 to 15625"),
    ],
)
def test_what_does_not_fit_is_refused(
    known: KnownSpace, tmp_path: Path, evaluations: int, methods: list[str], devices: list[str], text: str
) -> None:
    Contest(known, 30, tmp_path).execute(["random"], ["pixel3"], 1)
    with pytest.raises(InputError, match=text):
        Contest(known, evaluations, tmp_path).execute(methods, devices, 1)


def test_a_damaged_entry_is_named(known: KnownSpace, tmp_path: Path) -> None:
    contest = Contest(known, 30, tmp_path)
    contest.execute(["random"], ["pixel3"], 1)
    (file,) = (tmp_path / "runs").iterdir()
    file.write_text("{")
    with pytest.raises(InputError, match="is damaged; delete it"):
        contest.entries()


#: a contest in two processes that would take an hour
PROGRAM = """
import pickle, sys
from pathlib import Path
from modnas_fast.baselines.contest import Contest

if __name__ == "__main__":
    known = pickle.loads(Path(sys.argv[1]).read_bytes())
    Contest(known, 120, Path(sys.argv[2])).execute(["evolution"], list(known.fronts), 5000, jobs=2)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no process groups")
def test_a_killed_contest_leaves_no_process_and_goes_on(known: KnownSpace, finished: Contest, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "known.pickle").write_bytes(pickle.dumps(known))
    runs = tmp_path / "contest" / "runs"
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    program = subprocess.Popen(
        [sys.executable, "program.py", "known.pickle", "contest"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: len(list(runs.glob("*.json"))) >= 3 or program.poll() is not None)
        program.kill()
        assert program.wait() == -signal.SIGKILL, program.stderr.read()
        until(lambda: not group_lives(program.pid))
    finally:
        if group_lives(program.pid):
            os.killpg(program.pid, signal.SIGKILL)
    contest = Contest(known, 120, tmp_path / "contest")
    assert len(contest.entries()) >= 3
    contest.execute(["evolution"], list(known.fronts), 2)
    alone = [entry for entry in timeless(finished.entries()) if entry["method"] == "evolution"]
    assert [entry for entry in timeless(contest.entries()) if entry["seed"] < 2] == alone


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
