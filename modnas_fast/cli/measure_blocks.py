"""`modnas-fast data measure-blocks`: a table of the latency of every block of a space's networks on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError


def measure_blocks(
    out: Annotated[Path, typer.Option(help="The table, .yaml; one that is there is continued.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the space, such as space.width=0.35."),
    ] = None,
    setting: Annotated[
        str | None, typer.Option(help="Threads, batch and format as in cpu_t1_b1_fp32, which is the default.")
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="Of the networks' classifier.")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds in which every block is measured.")] = 15,
    check: Annotated[
        int, typer.Option(min=0, help="Then measure so many whole networks, and 48 for a regression, to compare.")
    ] = 0,
) -> None:
    """Measure every block of MobileNetV3s on this machine, one by one, into a table that gives all networks as sums.

    The table is in the form that Once-for-All publishes, and `--set devices.table=FILE.yaml` searches on it. The same
    command continues a table after a stop.

    Examples:

      modnas-fast data measure-blocks --out desk.yaml

      modnas-fast data measure-blocks --out desk.yaml --set space.resolutions=[96,128] --check 24
    """
    from modnas_fast.config import make_config
    from modnas_fast.devices import machine_settings
    from modnas_fast.devices.part_measuring import measure_parts
    from modnas_fast.runs.part_check import check_parts
    from modnas_fast.runtime.progress import Terminal
    from modnas_fast.spaces import make_space

    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out: wanted a name that ends in .yaml, got {out}")
    space_config = make_config({"space": {"name": "mobilenetv3"}}, overrides=set_ or ()).space
    space = make_space(space_config.name, space_config.arguments)
    known = {each.name: each for each in machine_settings() if each.processor == "cpu"}
    name = setting or next(iter(known))
    if name not in known:
        raise InputError(f"--setting: wanted one of {', '.join(known)}, got {name!r}")
    terminal, file = Terminal(), out.expanduser()
    count, doubts = measure_parts(space.parts(classes=classes), known[name], file, repeats, terminal)
    print(f"{file}: {count:,} blocks measured with {name}")
    for doubt in doubts:
        print(f"  not trustworthy: {doubt}")
    table = space.part_table(file)
    assert table is not None, "what was measured can be read"
    if check:
        with terminal.stage("Measuring whole networks", 1):
            side = max(space_config.arguments.get("resolutions") or [96])
            network = {"classes": classes, "image_channels": 3, "input_shape": (3, side, side)}
            found = check_parts(space, table, known[name], check, repeats, **network)
        for what, quality in (("sums over blocks", found.sums), ("regression on 48 networks", found.regression)):
            print(f"{what}: Spearman {quality.spearman:.3f}, mean error {100 * quality.mape:.1f} %")
        if found.doubt:
            print(f"  not trustworthy: {found.doubt}")
