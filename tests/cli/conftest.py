"""The command line, as a process and in this one, and one tiny run that the tests which only read it share."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

#: one thread: quick also where other processes keep the cores busy, and the same device names everywhere
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "120"}
#: everything as small as it goes; the search alone is long enough to be stopped in its midst
TINY = {
    "space.channels": 2,
    "task.limit": 200,
    "devices.networks": 6,
    "devices.heldout": 6,
    "devices.repeats": 2,
    "predictor.steps": 50,
    "search.steps": 16,
    "search.warmup_steps": 4,
    "search.refine_steps": 4,
    "search.refine_preferences": 3,
    "search.batch_size": 32,
    "search.evaluations": 2,
    "search.checkpoint_every": 4,
    "evaluation.rays": 6,
    "verify.networks": 1,
    "verify.epochs": 1,
    "report.plots": False,
}


def program() -> list[str]:
    """The installed command beside this interpreter."""
    found = shutil.which("modnas-fast", path=str(Path(sys.executable).parent))
    return [found] if found else [sys.executable, "-c", "from modnas_fast.cli.app import main; main()"]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


class Cli:
    """Runs commands in a folder of their own, with a measurement cache of their own."""

    total_steps = sum(TINY[f"search.{phase}"] for phase in ("warmup_steps", "steps", "refine_steps"))

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"

    @staticmethod
    def steps(run: Path) -> int:
        """Steps that the checkpoint of a run holds; −1 without one."""
        path = run / "checkpoint.pt"
        if not path.exists():
            return -1
        return torch.load(path, weights_only=True)["state"]["search"]["finished_steps"]

    @staticmethod
    def settings(**changes: Any) -> list[str]:
        """Options for a tiny search with changes; `a__b=c` stands for a.b=c."""
        values = {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}
        return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]

    def start(self, *arguments: str | Path, memory: int | None = None) -> subprocess.Popen:
        """A command that is still running, in an address space of at most `memory` bytes."""

        def limit() -> None:
            if memory is not None:
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

        return subprocess.Popen(
            [*program(), *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **ENVIRONMENT, "MODNAS_CACHE": str(self.cache)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )

    def __call__(self, *arguments: str | Path, memory: int | None = None) -> Ended:
        """A command run to its end."""
        process = self.start(*arguments, memory=memory)
        out, err = process.communicate(timeout=900)
        return Ended(process.returncode, out, err)

    def here(self, *arguments: str | Path) -> Ended:
        """A command run to its end in this process, which spares loading all libraries anew: quick.

        An exception other than the entry point's own exit fails the test.
        """
        with (
            pytest.MonkeyPatch.context() as patch,
            as_in_a_process(self.folder, self.cache, patch),
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
        ):
            code = call(patch, *arguments)
        return Ended(code, out.getvalue(), err.getvalue())

    def search(self, run: str, *arguments: str | Path, **changes: Any) -> Ended:
        """A tiny search into a folder, in this process."""
        return self.here("search", "--out", run, *self.settings(**changes), *arguments)

    def interrupt(self, number: signal.Signals, run: Path, after: int, *arguments: str | Path) -> Ended:
        """A search that gets a signal once its checkpoint holds more than `after` steps."""
        process = self.start("search", *arguments)
        try:
            until(lambda: self.steps(run) > after or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        return Ended(process.returncode, out, err)

    def result(self, run: str | Path) -> dict[str, Any]:
        """The result.json of a run, without the seconds."""
        content = json.loads((self.folder / run / "result.json").read_text(encoding="utf-8"))
        del content["seconds"]
        return content


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command line in a folder for the session."""
    return Cli(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="session")
def finished(cli: Cli) -> tuple[Path, Ended]:
    """A finished run, only to be read, and what its command printed."""
    ended = cli.search("whole")
    assert ended.code == 0, ended.err
    return cli.folder / "whole", ended


@pytest.fixture
def run(finished: tuple[Path, Ended]) -> Path:
    """The folder of the finished run, only to be read."""
    return finished[0]


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, free to be spoilt."""
    return Path(shutil.copytree(run, tmp_path / "copied"))


Command = Callable[..., Ended]


@contextlib.contextmanager
def as_in_a_process(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder, the environment and the one thread that a command's own process would have.

    Modules that lie in the folder are forgotten afterwards: the next command may find others there.
    """
    patch.chdir(folder)
    patch.setattr(sys, "path", [*sys.path])
    patch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    for name, value in {**ENVIRONMENT, "MODNAS_CACHE": str(cache)}.items():
        patch.setenv(name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(ENVIRONMENT["OMP_NUM_THREADS"]))
    yield
    torch.set_num_threads(threads)
    for name, module in [*sys.modules.items()]:
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


def call(patch: pytest.MonkeyPatch, *arguments: str | Path) -> Any:
    """Calls the entry point; its exit status."""
    from modnas_fast.cli.app import main

    patch.setattr(sys, "argv", ["modnas-fast", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.fixture
def command(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """The entry point called in this process, in a folder of the test's own."""

    def captured(*arguments: str | Path) -> Ended:
        capfd.readouterr()
        code = call(monkeypatch, *arguments)
        return Ended(code, *capfd.readouterr())

    with as_in_a_process(tmp_path, cli.cache, monkeypatch):
        yield captured
