"""`modnas-fast baselines`: black-box searches on a space whose networks are all known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError


def baselines(
    space: Annotated[str, typer.Argument(help="The space whose tables are used: nb201.")],
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Some of random, random-hypernet, nsga2, tpe, gp, local-search, evolution (all by default), or "
            "package.module:object of your own.",
        ),
    ] = None,
    devices: Annotated[
        str, typer.Option(metavar="paper|A,B", help="Device settings of HELP's tables; paper: MODNAS's 13 + 6.")
    ] = "paper",
    evaluations: Annotated[
        int, typer.Option(min=1, help="Distinct networks whose true error and cost a search may ask for, per device.")
    ] = 300,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per method and device.")] = 3,
    task: Annotated[str, typer.Option(help="cifar10, cifar100 or imagenet16-120.")] = "cifar10",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs. Default: runs/baselines-nb201-TASK-EVALUATIONS.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
) -> None:
    """Compare black-box searches under one budget of true evaluations, on tables of all networks.

    Finished runs are kept in the folder: the same command continues after a stop, and a command with more methods,
    devices or seeds adds to what is there. Table and baselines.json tell of all runs in the folder. With 300
    evaluations on one core, a run of gp takes about 40 s, one of tpe a few, the others up to one.

    Examples:

      modnas-fast baselines nb201

      modnas-fast baselines nb201 --methods random,evolution --devices pixel3,eyeriss --seeds 1

      modnas-fast baselines nb201 --task cifar100 --evaluations 100 --out runs/cifar100-short --jobs 1
    """
    if space != "nb201":
        raise InputError(f"baselines: tables of all networks are known for nb201 alone, got {space!r}")
    from modnas_fast.baselines import BASELINES
    from modnas_fast.baselines.contest import Contest
    from modnas_fast.baselines.standings import standings, standings_table
    from modnas_fast.devices.machine import available_cores
    from modnas_fast.reproduction.tables import load_benchmark
    from modnas_fast.runtime.files import write_json
    from modnas_fast.runtime.lock import locked
    from modnas_fast.runtime.progress import Terminal
    from modnas_fast.runtime.stopping import Stopped, Stopper
    from modnas_fast.runtime.terminal_table import show

    chosen = list(BASELINES) if methods is None else _names(methods, "--methods")
    known = load_benchmark(task, search=None if devices == "paper" else _names(devices, "--devices")).known_space()
    folder = out.expanduser() if out else Path("runs") / f"baselines-{space}-{task}-{evaluations}"
    terminal = Terminal()
    contest = Contest(known, evaluations, folder)
    try:
        with locked(folder), Stopper().listening():
            contest.execute(chosen, list(known.fronts), seeds, jobs or available_cores(), terminal)
    except Stopped:
        terminal.say("Stopped. The same command continues.")
        raise
    entries = contest.entries()
    summary = standings(entries)
    write_json(folder / "baselines.json", {**contest.settings, "methods": summary, "runs": entries})
    show(standings_table(summary, contest.settings))
    print(f"Runs: {folder / 'baselines.json'}")


def _names(text: str, option: str) -> list[str]:
    """The distinct names between commas."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise InputError(f"{option}: wanted names with commas between them, got {text!r}")
    return names
