"""What every run does in its folder, whatever it searches on: outcomes of stages kept on disk, images, the report."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from modnas_fast.config import Config, with_absolute_paths
from modnas_fast.devices import threads_restored
from modnas_fast.result import Result
from modnas_fast.result.folder import RESULT_FILE
from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.runtime.lock import locked
from modnas_fast.runtime.placement import search_device
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.tasks.make import make_task
from modnas_fast.tasks.task import Task


class StagedRun(ABC):
    """A run of stages in its folder; a stage whose outcome is there is not repeated.

    Args:
        folder: made by `runfolder.create_run`, before `execute`.
        config: its configuration.
        reporter: where progress is told; silent by default.
        stopper: asked after each search step whether to stop; a checkpoint is written first.
    """

    def __init__(
        self, folder: Path, config: Config, reporter: Reporter | None = None, stopper: Stopper | None = None
    ) -> None:
        self.folder = folder
        self.config = with_absolute_paths(config)
        self._reporter: Reporter = reporter or Silent()
        self._stopper = stopper or Stopper()
        self._checked = False
        #: why `execute` could write no report, in one line; the result stands without one
        self.report_fault: str | None = None

    def execute(self) -> Result:
        """Runs what is missing and returns the result; the report stands in the folder too, or see `report_fault`.

        Raises InputError for input that cannot be used, and where another process works in the folder.
        """
        with locked(self.folder):
            self._reporter.say(f"Run folder: {self.folder}")
            if not (self.folder / RESULT_FILE).exists():
                self.check()
                write_json(self.folder / RESULT_FILE, self._run_stages())
            result = Result.load(self.folder)
            self._report()
        return result

    def check(self) -> None:
        """Raises InputError for what a quick look at the inputs shows: minutes of measuring shall not come first."""
        if not self._checked:
            self._check()
        self._checked = True

    def _check(self) -> None:
        _ = self._device

    def _report(self) -> None:
        try:
            from modnas_fast.report import write_report

            with self._reporter.stage("Writing the report", 1):
                write_report(self.folder)
        except Exception as error:  # whatever it is, hours of search are not lost for it
            self.report_fault = one_line(error)

    @abstractmethod
    def _run_stages(self) -> dict[str, Any]:
        """The content of result.json."""

    @cached_property
    def _device(self) -> torch.device:
        """Where weights are trained and images classified."""
        return search_device(self.config.search.device)

    @cached_property
    def _task(self) -> Task:
        with self._reporter.stage("Loading images", 100) as advance:
            task = make_task(self.config, advance)
        for note in task.notes:
            self._reporter.say(f"  note: {note}")
        return task

    @contextmanager
    def _search_threads(self) -> Iterator[None]:
        """The CPU threads that `search.threads` asks for, until the end of the context."""
        with threads_restored():
            if self.config.search.threads is not None:
                torch.set_num_threads(self.config.search.threads)
            yield

    def _once(self, file: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `compute` returned, with the seconds it took: from `file`, where it is kept for a resumed run."""
        path = self.folder / file
        if not path.exists():
            start = time.monotonic()
            content = compute()
            write_json(path, {"seconds": time.monotonic() - start, **content})
        return read_kept(path)


def read_kept(path: Path) -> dict[str, Any]:
    """The outcome of a stage, as it was left in the folder. Raises InputError where the file is damaged."""
    try:
        return read_json(path)
    except ValueError:
        raise InputError(f"{path} is damaged; delete it to repeat its stage") from None
