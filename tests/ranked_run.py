"""Small searches on a table of one's own by the ranks of torchrun: `python ranked_run.py JSON`.

The argument has `folder` (with the table), `searches` (keyword arguments of each), and what shall happen to a rank of
the first group of ranks: `kill` or `stop`, with its number and the step. Weights are in float64, so that rounding
decides nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from cli.test_kinds_of_runs import THREE
from ranked_searches import in_float64
from torch import Tensor

from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.runs import run as stages
from modnas_fast.runs.api import search_together
from modnas_fast.runs.run import Run
from modnas_fast.runtime.stopping import Stopped, Stopper
from modnas_fast.search.bilevel import Search

OVERRIDES = (
    "devices.unseen=[hub]", THREE, "space.channels=2", "space.cells=1", "task.limit=120", "predictor.steps=30",
    "search.steps=12", "search.warmup_steps=3", "search.refine_steps=3", "search.refine_preferences=3",
    "search.refine_networks=24", "search.batch_size=15", "search.evaluations=1", "search.checkpoint_every=4",
    "search.log_every=2", "evaluation.rays=6", "verify.networks=3", "verify.epochs=1", "report.plots=false",
)  # fmt: skip
TABLE = "own.csv"


class Lines:
    """Tells what a run says, line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

    def stage(self, title: str, total: int, begun: int = 0) -> Any:
        return Stage()


class Stage:
    """A stage whose progress nobody wants to know."""

    def __enter__(self) -> Callable[[int], None]:
        return lambda done: None

    def __exit__(self, *_: object) -> None:
        pass


def search(folder: Path, **given: Any) -> None:
    """What the command line does, without the report."""
    forward = CostModel.forward

    def wide(self: CostModel, onehot: Tensor, d: Tensor) -> Tensor:
        return forward(self.float(), onehot.float(), d.float()).double()

    if "resume" not in given:
        given["overrides"] = [f"devices.table={folder / TABLE}", *OVERRIDES, *given.get("overrides", ())]
    with ExitStack() as patches:
        for place, name, instead in (
            (Run, "_report", lambda self: None),
            (Run, "_keep_answers", lambda self: None),
            (CostModel, "forward", wide),
            (stages, "train_chosen", in_float32(stages.train_chosen)),
            (stages, "foresee", in_float32(stages.foresee)),
        ):
            patches.enter_context(patch.object(place, name, instead))
        patches.enter_context(in_float64())
        search_together(**given, reporter=Lines(), stopper=Stopper())


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with weights made in float32: images come to networks trained alone in that."""

    def wrapped(*arguments: Any) -> Any:
        torch.set_default_dtype(torch.float32)
        try:
            return function(*arguments)
        finally:
            torch.set_default_dtype(torch.float64)

    return wrapped


def signalled(number: int, rank: int, step: int) -> None:
    """Has a rank of the first group get a signal after a step."""
    if os.environ.get("RANK") != str(rank) or os.environ.get("TORCHELASTIC_RESTART_COUNT") != "0":
        return
    make = Search.step

    def stepped(self: Search) -> None:
        make(self)
        if self.finished_steps == step:
            os.kill(os.getpid(), number)

    Search.step = stepped  # type: ignore[method-assign]


def networks(folder: Path) -> list[list[str]]:
    """Those of the rays of every device, and those that were verified with their errors."""
    content = json.loads((folder / "result.json").read_text())
    found = [[point["architecture"] for point in device["rays"]] for device in content["devices"]]
    return [*found, [f"{network['architecture']} {network['test']:.3f}" for network in content["verified"]]]


def main(options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    for name, number in (("kill", signal.SIGKILL), ("stop", signal.SIGTERM)):
        if name in options:
            signalled(number, *options[name])
    for given in options["searches"]:
        try:
            search(Path(options["folder"]), **given)
        except (ValueError, SystemExit, Stopped) as ended:
            print(f"rank {os.environ['RANK']} ended: {type(ended).__name__}: {ended}", flush=True)
            if "kill" in options:
                raise


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
