"""Tables and a picture of how a search would scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modnas_fast.bench.runner import shown, shown_bytes
from modnas_fast.bench.scaling_formula import Network, Workload, weight_messages
from modnas_fast.report.own_style import own_style
from modnas_fast.runtime.files import replacing
from modnas_fast.runtime.terminal_table import Column, FittedTable

#: what the work of spaces shall reach
TARGET = 0.9

Rows = Sequence[Mapping[str, Any]]


def messages_table(rows: Rows) -> FittedTable:
    """What was exchanged between two processes."""
    columns = [Column("measured between two processes"), Column("kind", 1)]
    columns += [Column(heading, right=True) for heading in ("messages", "a rank gives", "time", "MB/s")]
    cells = [
        [
            row["name"],
            row["kind"],
            str(row["messages"]),
            shown_bytes(row["bytes"]) if row["bytes"] >= 1e5 else f"{row['bytes']:,} B",
            shown(row["seconds"]),
            f"{row['bytes'] / row['seconds'] / 1e6:.3g}",
        ]
        for row in rows
    ]
    return FittedTable(columns, cells)


def inputs_table(works: Mapping[str, tuple[Workload, str]], network: Network) -> FittedTable:
    """What the formula was given."""
    origin = "measured" if network.measured else "assumed"
    title = (
        f"inputs; network: latency {shown(network.latency_s)}, {network.bytes_per_s / 1e9:.3g} GB/s ({origin}), "
        f"sums: {network.sums}"
    )
    headings = ("c, a network", "φ, T least", "φ, T most", "o", "N", "W", "message of w", "seconds are")
    rows = [
        [
            name,
            shown(work.network_s),
            *(f"{shown(work.phi_s[T])} (T = {T})" for T in (min(work.phi_s), max(work.phi_s))),
            shown(work.optimizer_s),
            str(work.options),
            str(len(work.weights)),
            shown_bytes(sum(weight_messages(work.weights))),
            source,
        ]
        for name, (work, source) in works.items()
    ]
    return FittedTable([Column("space"), *(Column(heading, right=True) for heading in headings)], rows, title)


def predictions_table(kind: str, found: Mapping[str, Rows], network: Network) -> FittedTable:
    """A line per space and number of ranks; what is below the target is marked."""
    what = "devices grow with the ranks" if kind == "weak" else "the paper's devices, divided"
    headings = ("ranks", "devices", "mesh", "divided", "whole", "exchange", "step", "efficiency")
    rows = [
        [
            name,
            str(row["ranks"]),
            str(row["devices"]),
            "×".join(map(str, row["mesh"])),
            *(shown(row[key]) for key in ("divided_s", "repeated_s")),
            shown(row["exchange_s"]) if row["exchange_s"] else "",
            shown(row["step_s"]),
            f"{row['efficiency']:.1%}" + ("" if row["efficiency"] >= TARGET else " *"),
        ]
        for name, each in found.items()
        for row in each
    ]
    title = f"predicted, {kind} scaling: {what}; * below {TARGET:.0%}"
    return FittedTable([Column("space"), *(Column(heading, right=True) for heading in headings)], rows, title)


@own_style()
def plot(found: Mapping[str, Mapping[str, Rows]], network: Network, path: Path) -> None:
    """Efficiency over ranks, a panel for weak and one for strong scaling."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axis, kind in zip(figure.subplots(1, 2), ("weak", "strong")):
        for name, kinds in found.items():
            rows = kinds[kind]
            axis.semilogx([row["ranks"] for row in rows], [row["efficiency"] for row in rows], marker="o", label=name)
        axis.axhline(TARGET, color="grey", linestyle=":", linewidth=1)
        axis.set(xlabel="ranks", ylabel="predicted efficiency", ylim=(0, 1.05), title=f"{kind} scaling")
        axis.legend(frameon=False)
    origin = "measured" if network.measured else "assumed"
    figure.suptitle(f"latency {shown(network.latency_s)}, {network.bytes_per_s / 1e9:.3g} GB/s ({origin})", fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix[1:])
