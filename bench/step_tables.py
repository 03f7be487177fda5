"""Tables and a picture of the times of whole search steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from modnas_fast.bench.runner import shown, shown_bytes
from modnas_fast.bench.step_contenders import MAKERS
from modnas_fast.files import replacing


def times_table(row: dict[str, Any]) -> Table:
    """A line per contender."""
    title = f"one step: T = {row['T']}, batch {row['batch']}, C = {row['C']}, N = {row['N']}"
    table = Table(title=title, title_justify="left")
    table.add_column("contender")
    hours = row.get("estimated_paper_hours", {})
    headings = ["step", "over ours", "per device", "peak memory", *(["100 epochs, estimate"] if hours else [])]
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, seconds in row["seconds"].items():
        ratio = row["ratio"].get(name)
        table.add_row(
            name,
            shown(seconds),
            f"{ratio:.2f} ×" if ratio else "",
            shown(row["seconds_per_device"][name]),
            shown_bytes(row["peak_bytes"][name]),
            *([f"{hours[name]:.1f} h"] if hours else []),
        )
    return table


def parts_table(row: dict[str, Any]) -> Table:
    """Shares of a step by part, then by kind of operation; a column per contender."""
    found = row["parts"]
    title = f"where a step's time goes: T = {row['T']}, batch {row['batch']}"
    table = Table("", *[f"{name}" for name in found], title=title, title_justify="left")
    for half in ("Φ step", "w step"):
        columns = [parts["by_part"][half] for parts in found.values()]
        totals = [sum(sum(half.values()) for half in parts["by_part"].values()) for parts in found.values()]
        _shares(table, half, columns, totals)
    columns = [parts["by_kind"] for parts in found.values()]
    _shares(table, "both, by kind of operation", columns, [sum(column.values()) for column in columns])
    return table


def _shares(table: Table, heading: str, columns: list[dict[str, float]], totals: list[float]) -> None:
    """A section of the table: the sums in the line of the heading, the largest shares first."""
    sums = [f"{shown(sum(column.values()))}  {sum(column.values()) / total:4.0%}" for column, total in zip(columns, totals)]
    table.add_row(heading, *sums, style="bold")
    names = sorted({name for column in columns for name in column}, key=lambda name: -max(c.get(name, 0) for c in columns))
    for name in names:
        cells = [f"{shown(c[name])}  {c[name] / total:4.0%}" if name in c else "" for c, total in zip(columns, totals)]
        table.add_row(f"  {name}", *cells)
    table.add_section()


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Seconds of a step over T, a panel per size of the minibatch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    batches = sorted({row["batch"] for row in results})
    figure, axes = plt.subplots(1, len(batches), figsize=(1 + 4 * len(batches), 4), squeeze=False, layout="constrained")
    names = [name for name in MAKERS if any(name in row["seconds"] for row in results)]
    for axis, batch in zip(axes[0], batches, strict=True):
        for number, name in enumerate(names):
            points = [(row["T"], row["seconds"][name]) for row in results if row["batch"] == batch and name in row["seconds"]]
            if points:
                axis.loglog(*zip(*points, strict=True), marker="o", label=name, color=f"C{number}")
        axis.set(xlabel="T, devices", ylabel="seconds per step", title=f"batch {batch}")
        axis.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    plt.close(figure)
