"""`modnas-fast doctor`: what runs here and why; under torchrun, how its ranks exchange."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:
    from modnas_fast.runtime.exchange import Exchange


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    ranks: Annotated[
        bool, typer.Option("--distributed", help="Under torchrun: who the ranks are, and how fast they exchange.")
    ] = False,
) -> None:
    """Tell versions, which implementation serves each operation and why, and how to mend what is missing.

    With --distributed, before a large search:

      torchrun --standalone --nproc-per-node=2 -m modnas_fast doctor --distributed
    """
    if ranks:
        _tell_ranks(as_json)
        return
    from modnas_fast.cli.diagnosis import diagnose, render
    from modnas_fast.runtime.terminal_table import show

    diagnosis = diagnose()
    if as_json:
        print(json.dumps(diagnosis.to_dict(), indent=1))
    else:
        show(render(diagnosis))


def _tell_ranks(as_json: bool) -> None:
    """Rank 0 prints."""
    if "WORLD_SIZE" not in os.environ:
        raise InputError(
            "--distributed: wanted several processes; start torchrun --standalone --nproc-per-node=2 -m modnas_fast "
            "doctor --distributed, or with the options of the search to come"
        )
    from modnas_fast.runtime.exchange import probe
    from modnas_fast.runtime.ranks import joined_ranks

    with joined_ranks() as joined:
        found = probe(joined)
        if joined.first:
            print(json.dumps(found.to_dict(), indent=1) if as_json else _in_words(found))


def _in_words(found: Exchange) -> str:
    lines = [f"{len(found.ranks)} ranks, back end {found.backend}"]
    for each in found.ranks:
        versions = ", ".join(f"{package} {number}" for package, number in each["versions"].items())
        threads = f"{each['threads']} threads of {each['cores']} cores"
        lines.append(f"  rank {each['rank']}: {each['host']}, {each['device']}, {threads}, {versions}")
    lines.append("Sums over all ranks:")
    for each_sum in found.sums:
        lines.append(
            f"  {each_sum.size:>12,} bytes: {1e3 * each_sum.seconds:9.3f} ms, {each_sum.megabytes_per_second:9.1f} MB/s"
        )
    lines += [f"  fault: {fault}" for fault in found.faults] or ["Nothing stands in the way of a search."]
    return "\n".join(lines)
