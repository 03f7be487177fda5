"""A small search on a table of one's own, of one process or of the ranks of torchrun: `python ranked_run.py JSON`.

The argument has `folder` (with the table), keyword arguments of `search`, and what shall happen to a rank: `kill` or
`stop` after a step, in the first group of ranks alone. Weights are in float64, so that rounding decides nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cli.test_kinds_of_runs import THREE, write_own_table
from ranked_searches import in_float64

from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.runs import run
from modnas_fast.runs.api import search_together
from modnas_fast.runs.run import Run
from modnas_fast.runtime.progress import Terminal
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.search.bilevel import Search

OVERRIDES = (
    "devices.table=own.csv", "devices.unseen=[hub]", THREE, "space.channels=2", "space.cells=1", "task.limit=120",
    "predictor.steps=30", "search.steps=12", "search.warmup_steps=3", "search.refine_steps=3",
    "search.refine_preferences=3", "search.refine_networks=24", "search.batch_size=15", "search.evaluations=1",
    "search.checkpoint_every=2", "search.log_every=2", "evaluation.rays=6", "verify.networks=3", "verify.epochs=1",
)  # fmt: skip


def search(**given: Any) -> None:
    """What the command line does, without the report."""
    Run._report = Run._keep_answers = lambda self: None  # type: ignore[method-assign]
    forward = CostModel.forward
    CostModel.forward = lambda self, onehot, d: forward(self.float(), onehot.float(), d.float()).double()  # type: ignore[method-assign]
    run.train_chosen, run.foresee = in_float32(run.train_chosen), in_float32(run.foresee)
    if "resume" not in given:
        given["overrides"] = [*OVERRIDES, *given.get("overrides", ())]
    with in_float64():
        search_together(**given, reporter=Terminal() if os.environ.get("RANK", "0") == "0" else None, stopper=Stopper())


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with weights made in float32: images that train networks alone come in that."""

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


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    os.chdir(options.pop("folder"))
    torch.set_num_threads(1)
    if not Path("own.csv").exists():
        write_own_table(Path("own.csv"))
    for name, number in (("kill", signal.SIGKILL), ("stop", signal.SIGTERM)):
        if name in options:
            signalled(number, *options.pop(name))
    from modnas_fast.cli import app

    app.app = lambda **_: search(**options)  # type: ignore[assignment]
    app.main()
