"""The short summary of a run on the terminal."""

from __future__ import annotations

from rich.table import Table

from modnas_fast.report.marks import mean
from modnas_fast.result import Result


def summary_tables(result: Result) -> list[Table]:
    """One table of devices, and one of verified networks where there are any."""
    tables = [_device_table(result)]
    if result.content["verified"]:
        tables.append(_verified_table(result))
    return tables


#: key of a device's entry: heading, format; shown where some device has it
COLUMNS = {
    "spearman": ("Spearman", ".3f"),
    "noise": ("noise", ".1%"),
    "hypervolume": ("MODNAS", ".4f"),
    "hypervolume_random": ("random", ".4f"),
    "hypervolume_ratio": ("of exact", ".1%"),
    "distinct_nondominated": ("networks", "d"),
}


def _device_table(result: Result) -> Table:
    table = Table(title=_title(result))
    table.add_column("device")
    table.add_column("split")
    entries = result.content["devices"]
    columns = {key: style for key, style in COLUMNS.items() if any(entry.get(key) is not None for entry in entries)}
    for heading, _ in columns.values():
        table.add_column(heading, justify="right")
    for entry in entries:
        cells = [_cell(entry.get(key), style) for key, (_, style) in columns.items()]
        table.add_row(entry["name"], entry["split"], *cells)
    for split in ("search", "unseen"):
        rows = [entry for entry in entries if entry["split"] == split]
        if rows:
            means = [mean(entry.get(key) for entry in rows) for key in columns]
            cells = [_cell(value, style.replace("d", ".1f")) for value, (_, style) in zip(means, columns.values())]
            table.add_row("mean", split, *cells, style="bold")
    return table


def _title(result: Result) -> str:
    kind = "" if result.error_kind == "inherited" else ", by true errors and measured latencies of the table"
    return f"Hypervolume of the front per device{kind} (unseen: not part of the search)"


def _cell(value: float | None, style: str) -> str:
    return "–" if value is None else format(value, style)


def _verified_table(result: Result) -> Table:
    table = Table(title="Verified: trained from scratch and measured")
    for heading in ("architecture", "supernet error", "test error", "latency: measured / predicted"):
        table.add_column(heading, justify="left" if heading == "architecture" else "right", overflow="fold")
    for entry in result.content["verified"]:
        ratios = sorted(v["measured"] / v["predicted"] for v in entry["latency_ms"].values())
        table.add_row(
            entry["architecture"],
            f"{entry['supernet_error']:.2f} %",
            f"{entry['test_error']:.2f} %",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        )
    return table
