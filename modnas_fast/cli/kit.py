"""`modnas-fast kit`: networks to measure on another device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.cli.budgets import budget_of
from modnas_fast.runtime.errors import InputError

#: of a kit for a search
NETWORKS = 60


def kit(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the kit.")],
    run: Annotated[Path | None, typer.Option(help="Folder of a run: its space and task.")] = None,
    preset: Annotated[str | None, typer.Option(help="As of search, for a search that is to come.")] = None,
    data: Annotated[str | None, typer.Option(help="As of search.")] = None,
    space: Annotated[str | None, typer.Option(help="Name of the space; space.name.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As of search.")] = None,
    device: Annotated[str | None, typer.Option(help="With --top: a device of the run.")] = None,
    max_: Annotated[
        list[str] | None, typer.Option("--max", metavar="METRIC=VALUE", help="With --top: budgets, as of pick.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="The references and the K best of --run within --max: for pick --verify."
        ),
    ] = None,
    networks: Annotated[int | None, typer.Option(help="How many, the ten references first; 60.")] = None,
    batch: Annotated[int, typer.Option(help="Samples per pass.")] = 1,
    to: Annotated[list[str] | None, typer.Option("--to", help="onnx and pt2, the default, or one of them.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes which networks.")] = 0,
) -> None:
    """Write a folder with networks of a space and a script that measures them on any device.

    Copy it there and run measure.py, which needs Python with onnxruntime, or with torch for the pt2 files; then
    modnas-fast devices add makes a device of what it wrote.

    Examples:

      modnas-fast kit phone-kit/ --run runs/digits-001

      modnas-fast kit phone-kit/ --preset gpt-small --networks 40

      modnas-fast kit best-kit/ --run runs/phone-001 --device phone --max latency_ms=5 --top 5
    """
    from modnas_fast.config import make_config
    from modnas_fast.deployment.kit import make_kit, not_of_a_kit
    from modnas_fast.result.folder import open_run
    from modnas_fast.runs.inputs import Inputs
    from modnas_fast.runs.own_images import preset_of_images
    from modnas_fast.runtime.progress import Terminal

    if run is not None and (preset or data or space or set_):
        raise InputError("--run: a run has its space and task; leave out --preset, --data, --space and --set")
    if run is not None:
        config = open_run(run)
    else:
        named = {"space.name": space, "task.data": data}
        overrides = [*(f"{key}={value}" for key, value in named.items() if value), *(set_ or [])]
        config = make_config(preset=preset, overrides=overrides, preset_of_images=preset_of_images)
    best = _best(run, device, budget_of(max_), top, networks)
    terminal = Terminal()
    inputs = Inputs(config, terminal, remeasure=False, folder=lambda: run)
    if not inputs.trains:
        raise InputError("kit: a search on a table builds no task of its own (task.source=surrogate); name --data")
    made = make_kit(inputs, out, networks or NETWORKS, batch, to or ("onnx", "pt2"), seed, terminal, best)
    print(f"{len(made['networks'])} networks of {made['about']['space']}, kit {made['id']}")
    for line in not_of_a_kit(inputs):
        print(f"note: {line}; they do not compare")
    print(f"Copy {out} to the device and run there: python measure.py")


def _best(
    run: Path | None, device: str | None, budget: dict[str, float] | None, top: int | None, networks: int | None
) -> list[str] | None:
    """The best networks of a run; None where all of the space are meant."""
    from modnas_fast.cli.pick import on_the_command_line
    from modnas_fast.result import Result

    if top is None:
        if device is not None or budget is not None:
            raise InputError("--device and --max: go with --top K, the best networks of a run")
        return None
    if run is None or device is None or budget is None or networks is not None:
        raise InputError("--top: goes with --run, --device and --max, without --networks")
    try:
        return [pick.text for pick in Result.load(run).top(device, max=budget, count=top)]
    except InputError as error:
        raise on_the_command_line(error) from None
