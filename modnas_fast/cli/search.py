"""`modnas-fast search`: the whole way from data or a table to an answer and its report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modnas_fast.cli.budgets import budget_of, intervals_of

if TYPE_CHECKING:
    from modnas_fast.runs.run import Run


def search(
    data: Annotated[
        str | None,
        typer.Option(
            help="Images: a folder with one sub-folder per class, or image parquet (file or folder); texts or pairs "
            "of sentences with the presets for them. Default: scikit-learn's digits, embedded."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Named starting point: digits, images (the default with --data), cifar10-small and mobilenet-small "
            "(photos), each with --data; on NAS-Bench-201 and its tables of devices: nb201 (no images), nb201-supernet "
            "and nb201-paper (with --data cifar10/); language models for a CPU: gpt-small (embedded texts, or --data "
            "texts/); translation: hat-small (with --data pairs/); on other published tables: hw-gpt-bench, hat, "
            "ofa-help."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with changes to the preset.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as search.steps=200. Repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. Default 0.")] = None,
    verify: Annotated[
        int | None, typer.Option(metavar="K", help="Networks to train from scratch and measure. 0: none.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/DATA-001, -002, …")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue the run in this folder where it stopped.")
    ] = None,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Measure this machine anew instead of using cached latencies.")
    ] = False,
    most: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="COST=VALUE",
            help="latency_ms=20: networks for photos of a size whose latencies reach this budget, for one image on one "
            "thread of this machine.",
        ),
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=FROM:TO",
            help="A region of the fronts that counts more, such as latency_ms=3:8: half of the search goes there, and "
            "further answers come from there. Repeatable; regions of single devices: preferences.regions.",
        ),
    ] = None,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config", help="Print the resolved configuration as YAML, each key with its meaning, and exit."
        ),
    ] = False,
) -> None:
    """Measure this machine, search, and write the answer and its report to a run folder.

    Without arguments: the embedded digits, offline, in under five minutes on two cores.

    objectives names what is minimised: the error, then latency, energy (of a table that has it), and the exact
    parameters, flops and memory of every network, or what a package.module:object of yours counts of it.

    With devices.table, no machine is measured: costs come from a table, help (27 devices), hw-nas-bench-360 or a
    CSV or parquet file of yours with columns architecture, device, latency_ms, of all networks or of 30 at least.
    With task.table, the answer is judged by the true errors of NAS-Bench-201, as --preset nb201 does in about a
    minute; `modnas-fast data fetch nb201` brings the tables.

    Examples:

      modnas-fast search

      modnas-fast search --data photos/ --seed 1 --verify 6

      modnas-fast search --data photos/ --max latency_ms=20

      modnas-fast search --within latency_ms=0.3:0.8

      modnas-fast search --preset cifar10-small --data cifar10/ --set search.steps=1000

      modnas-fast search --preset nb201

      modnas-fast search --preset nb201 --set devices.search=[pixel3,gold_6240] --set devices.unseen=[fpga]

      modnas-fast search --data photos/ --set devices.table=my-devices.csv

      modnas-fast search --set 'objectives=[error,latency,parameters]'

      modnas-fast search --preset nb201-supernet --data cifar10/

      modnas-fast search --resume runs/digits-001
    """
    sections, budgets = _command_line_sections(data, verify), budget_of(most)
    if region := intervals_of(within):
        sections["preferences"] = {"regions": [{"within": {key: list(ends) for key, ends in region.items()}}]}
    if show_config and resume is None:
        from modnas_fast.config import commented_yaml, make_config, with_absolute_paths

        if seed is not None:
            sections["seed"] = seed
        file = config and config.expanduser()
        shown = make_config(
            preset=preset, file=file, overrides=set_ or (), preset_of_images=_preset_of_images, **sections
        )
        if budgets:
            from modnas_fast.runs.own_images import sized

            shown, _ = sized(shown, budgets)
        print(commented_yaml(with_absolute_paths(shown)), end="")
        return
    from modnas_fast.runs.api import search_together
    from modnas_fast.runtime.progress import Terminal
    from modnas_fast.runtime.stopping import Stopped, Stopper

    terminal, started = Terminal(), _Started()
    try:
        result = search_together(
            config,
            preset=preset,
            out=out,
            resume=resume,
            seed=seed,
            overrides=set_ or (),
            remeasure=remeasure,
            budgets=budgets,
            reporter=terminal,
            stopper=Stopper(),
            started=started,
            **sections,
        )
    except Stopped:
        if started.run is not None:
            folder = shlex.quote(str(started.run.folder))
            terminal.say(f"Stopped. Continue with: modnas-fast search --resume {folder}")
        raise
    if isinstance(result, Path):  # rank 0 tells
        return
    from modnas_fast.cli.summary import budget_tables, summary_tables
    from modnas_fast.runtime.terminal_table import show

    show(*summary_tables(result), *(budget_tables(result, budgets) if budgets else ()))
    if started.run is not None and started.run.report_fault:
        again = f"modnas-fast report {shlex.quote(str(result.run))}"
        fault = started.run.report_fault
        terminal.say(f"modnas-fast: no report: {fault}. The result stands; build the report with: {again}")
        raise typer.Exit(1)
    print(f"Report: {result.run / 'report.html'}")


class _Started:
    """Keeps the run that a search has started."""

    run: Run | None = None

    def __call__(self, run: Run) -> None:
        self.run = run


def _preset_of_images(place: str) -> str:
    """Looks at images of one's own, and loads what that takes only then."""
    from modnas_fast.runs.own_images import preset_of_images

    return preset_of_images(place)


def _command_line_sections(data: str | None, verify: int | None) -> dict[str, Any]:
    """Options that stand for configuration keys."""
    sections: dict[str, Any] = {}
    if data is not None:
        sections["task"] = {"data": data}
    if verify is not None:
        sections["verify"] = {"networks": verify}
    return sections
