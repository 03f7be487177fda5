"""Tables and a picture of the times of whole search steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modnas_fast.bench.runner import shown, shown_bytes
from modnas_fast.bench.step_contenders import MAKERS
from modnas_fast.report.own_style import own_style
from modnas_fast.runtime.files import replacing
from modnas_fast.runtime.terminal_table import Column, FittedTable


def times_table(row: dict[str, Any]) -> FittedTable:
    """A line per contender."""
    title = f"one step: T = {row['T']}, batch {row['batch']}, C = {row['C']}, N = {row['N']}"
    hours = row.get("estimated_paper_hours", {})
    ranks = {"step": 0, "over ours": 1, "per device": 3, "peak memory": 4}
    ranks |= {"100 epochs, estimate": 2} if hours else {}
    columns = [Column("contender"), *(Column(heading, rank, right=True) for heading, rank in ranks.items())]
    rows = []
    for name, seconds in row["seconds"].items():
        ratio = row["ratio"].get(name)
        rows.append([
            name,
            shown(seconds),
            f"{ratio:.2f} ×" if ratio else "",
            shown(row["seconds_per_device"][name]),
            shown_bytes(row["peak_bytes"][name]),
            *([f"{hours[name]:.1f} h"] if hours else []),
        ])  # fmt: skip
    return FittedTable(columns, rows, title)


def parts_table(row: dict[str, Any]) -> FittedTable:
    """Shares of a step by part, then by kind of operation; a column per contender."""
    found = row["parts"]
    totals = [sum(sum(half.values()) for half in parts["by_part"].values()) for parts in found.values()]
    sections = {half: ([parts["by_part"][half] for parts in found.values()], totals) for half in ("Φ step", "w step")}
    kinds = [parts["by_kind"] for parts in found.values()]
    sections["both, by kind of operation"] = (kinds, [sum(column.values()) for column in kinds])
    rows: list[list[str]] = []
    sums = []
    for heading, (shares, whole) in sections.items():
        sums.append(len(rows))
        rows += _shares(heading, shares, whole)
    columns = [Column(""), *(Column(name, rank, right=True) for rank, name in enumerate(found))]
    title = f"where a step's time goes: T = {row['T']}, batch {row['batch']}"
    return FittedTable(columns, rows, title, bold=sums)


def _shares(heading: str, columns: list[dict[str, float]], totals: list[float]) -> list[list[str]]:
    """Rows of a section: the sums beside the heading, then the largest shares first."""
    sums = [
        f"{shown(sum(column.values()))}  {sum(column.values()) / total:4.0%}" for column, total in zip(columns, totals)
    ]
    names = sorted(
        {name for column in columns for name in column}, key=lambda name: -max(c.get(name, 0) for c in columns)
    )
    rows = [[heading, *sums]]
    for name in names:
        cells = [f"{shown(c[name])}  {c[name] / total:4.0%}" if name in c else "" for c, total in zip(columns, totals)]
        rows.append([f"  {name}", *cells])
    return rows


@own_style()
def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Seconds of a step over T, a panel per size of the minibatch."""
    from matplotlib.figure import Figure

    batches = sorted({row["batch"] for row in results})
    figure = Figure(figsize=(1 + 4 * len(batches), 4), layout="constrained")
    axes = figure.subplots(1, len(batches), squeeze=False)
    names = [name for name in MAKERS if any(name in row["seconds"] for row in results)]
    for axis, batch in zip(axes[0], batches, strict=True):
        for number, name in enumerate(names):
            points = [
                (row["T"], row["seconds"][name]) for row in results if row["batch"] == batch and name in row["seconds"]
            ]
            if points:
                axis.loglog(*zip(*points, strict=True), marker="o", label=name, color=f"C{number}")
        axis.set(xlabel="T, devices", ylabel="seconds per step", title=f"batch {batch}")
        axis.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
