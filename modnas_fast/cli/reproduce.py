"""`modnas-fast reproduce`: the paper's experiments on a tabular benchmark, as one page and one JSON file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modnas_fast.runtime.errors import InputError, one_line

if TYPE_CHECKING:
    from modnas_fast.runtime.progress import Terminal


#: what qualities of a benchmark's networks may come from
SOURCES = {
    "nb201": ("surrogate", "supernet"),
    "gpt": ("surrogate",),
    "hat": ("surrogate", "supernet"),
    "ofa": ("surrogate", "supernet"),
}
#: folder within that of ofa: the reproduction on tables of blocks
BLOCKS = "blocks"


def reproduce(
    benchmark: Annotated[
        str, typer.Argument(help="Whose experiments: nb201, gpt (HW-GPT-Bench), hat, or ofa (MobileNetV3s).")
    ],
    source: Annotated[
        str,
        typer.Option(
            help="surrogate: a regression on 300 true qualities; supernet: shared weights trained here, no true "
            "quality is read."
        ),
    ] = "surrogate",
    scale: Annotated[str, typer.Option(help="gpt: s or l.")] = "s",
    seeds: Annotated[int, typer.Option(min=1, help="Searches of every kind; nb201 with a supernet: one.")] = 3,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and fewer steps, factors, tasks and baselines: minutes.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Supernet: what it is trained on: images as parquet or folders, or pairs of sentences. Default: "
            "CIFAR-10, Multi30k and Tatoeba, or images in the data folder."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Supernet: change one value, such as space.channels=4."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder. Default: runs/reproduce-BENCHMARK-SOURCE[-quick].")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Surrogate: processes. Default: one per core.")] = None,
) -> None:
    """Reproduce MODNAS's experiments: on NAS-Bench-201, where the exact fronts are known, HW-GPT-Bench, HAT or OFA.

    On nb201 with the surrogate: 13 + 6 devices of HELP's tables, black-box baselines, ablations, two further tasks,
    five other splits of the devices, three objectives on a Raspberry Pi 5; an hour or two on two cores, a good part of
    it for the Gaussian-process baseline, or some minutes with --quick. The tables come by `modnas-fast data fetch
    nb201`.
    On gpt: perplexity and energy on the paper's 4 + 4 GPUs, the paper's combination, black-box baselines, and with
    latency as a third objective all 13 devices; the tables come by `modnas-fast data fetch gpt`.
    On hat: BLEU of WMT14 En-De, as a judge tells it, and latency on the paper's 2 + 1 devices, beside HAT's published
    networks; the paper's combination, its loss as published, and black-box searches with as many queries; the tables
    come by `modnas-fast data fetch hat`.
    On ofa: ImageNet error, as Once-for-All's network of accuracies tells it, and latency on the paper's 11 + 1 settings
    of HELP, and a second split; the paper's combination, black-box searches, Once-for-All's own search for each of ten
    budgets, and its published networks; then the same on a Note10 and an i7-8700K, whose latencies are exact sums over
    tables of blocks (folder `blocks`). The tables come by `modnas-fast data fetch ofa`.
    With `--source supernet`, hat and ofa are whole runs on this machine, on small spaces: supernets trained on Multi30k
    and Tatoeba, or on images, a quarter to three quarters of an hour each on two cores, and on the same weights random
    search, an evolution and a Gaussian process with as many evaluated networks.
    Finished parts are kept in the folder: the same command continues after a stop.

    Examples:

      modnas-fast reproduce nb201 --quick

      modnas-fast reproduce nb201 --seeds 3

      modnas-fast reproduce gpt --scale l --quick

      modnas-fast reproduce hat --quick

      modnas-fast reproduce ofa --quick

      modnas-fast reproduce hat --source supernet --seeds 1

      modnas-fast reproduce ofa --source supernet --data photos/

      modnas-fast reproduce nb201 --source supernet --quick --data cifar10/

      modnas-fast reproduce nb201 --source supernet --set space.channels=8 --set space.cells=1 --set task.resize=16
    """
    if benchmark not in SOURCES:
        raise InputError(f"reproduce: wanted one of {', '.join(SOURCES)}, got {benchmark!r}")
    if scale not in ("s", "l") or (benchmark != "gpt" and scale != "s"):
        raise InputError(f"--scale: wanted s or l, for gpt alone, got {scale!r}")
    if source not in SOURCES[benchmark]:
        raise InputError(f"--source: {benchmark} is reproduced with {' or '.join(SOURCES[benchmark])}, got {source!r}")
    if source == "surrogate" and (data is not None or set_):
        raise InputError("--data, --set: belong to --source supernet; the surrogate's searches are fixed by the plan")
    from modnas_fast.devices.machine import available_cores
    from modnas_fast.reproduction.ofa import budgets_table, reproduce_blocks, reproduce_ofa
    from modnas_fast.reproduction.own_weights import reproduce_on_own_weights
    from modnas_fast.reproduction.own_weights_plans import OWN_WEIGHTS
    from modnas_fast.reproduction.run import reproduce_gpt, reproduce_hat, reproduce_with_surrogate
    from modnas_fast.reproduction.standings import headline_table
    from modnas_fast.reproduction.supernet import reproduce_with_supernet
    from modnas_fast.runtime.lock import locked
    from modnas_fast.runtime.progress import Terminal
    from modnas_fast.runtime.stopping import Stopped, Stopper
    from modnas_fast.runtime.terminal_table import show

    part = scale if benchmark == "gpt" else source
    folder = out.expanduser() if out else Path("runs") / f"reproduce-{benchmark}-{part}{'-quick' if quick else ''}"
    exact: dict[str, Any] | None = None
    terminal, stopper = Terminal(), Stopper()
    command = " ".join(["modnas-fast", *sys.argv[1:]])
    trained: dict[str, Any] = {
        "data": data and data.expanduser(),
        "overrides": set_ or (),
        "quick": quick,
        "command": command,
        "reporter": terminal,
        "stopper": stopper,
    }
    try:
        with locked(folder), stopper.listening():
            if benchmark == "gpt":
                content = reproduce_gpt(
                    folder,
                    scale=scale,
                    seeds=seeds,
                    quick=quick,
                    jobs=jobs or available_cores(),
                    command=command,
                    reporter=terminal,
                )
            elif source == "supernet" and benchmark in OWN_WEIGHTS:
                content = reproduce_on_own_weights(OWN_WEIGHTS[benchmark], folder, seeds=seeds, **trained)
            elif benchmark == "ofa":
                options: dict[str, Any] = {"seeds": seeds, "quick": quick, "jobs": jobs or available_cores()}
                content = reproduce_ofa(folder, **options, command=command, reporter=terminal)
                exact = reproduce_blocks(folder / BLOCKS, **options, command=command, reporter=terminal)
            elif source == "surrogate":
                searched = reproduce_hat if benchmark == "hat" else reproduce_with_surrogate
                content = searched(
                    folder, seeds=seeds, quick=quick, jobs=jobs or available_cores(), command=command, reporter=terminal
                )
            else:
                content = reproduce_with_supernet(folder, **trained)
            found = {folder: content, **({folder / BLOCKS: exact} if exact else {})}
            pages = [_page(each, terminal) for each in found]
    except Stopped:
        terminal.say("Stopped. The same command continues.")
        raise
    for told in found.values():
        show(headline_table(told))
        if "beside" in told:
            show(budgets_table(told["beside"]))
    for page, fault in pages:
        if fault:
            terminal.say(
                f"modnas-fast: no page: {fault}. reproduction.json stands; the same command makes the page again"
            )
            raise typer.Exit(1)
        print(f"Page: {page}")


def _page(folder: Path, terminal: Terminal) -> tuple[Path | None, str]:
    """The page written from reproduction.json, or why there is none: hours of searches are not lost for it."""
    from modnas_fast.report import write_reproduction

    try:
        with terminal.stage("Writing the page", 1):
            return write_reproduction(folder), ""
    except Exception as error:
        return None, one_line(error)
