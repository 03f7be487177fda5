"""The short summary of a run on the terminal."""

from __future__ import annotations

from rich.table import Table

from modnas_fast.result import Result


def summary_tables(result: Result) -> list[Table]:
    """One table of devices, and one of verified networks where there are any."""
    tables = [_device_table(result)]
    if result.content["verified"]:
        tables.append(_verified_table(result))
    return tables


def _device_table(result: Result) -> Table:
    table = Table(title="Hypervolume of the front per device (unseen: not part of the search)")
    table.add_column("device")
    table.add_column("split")
    for heading in ("Spearman", "noise", "MODNAS", "random", "networks"):
        table.add_column(heading, justify="right")
    entries = result.content["devices"]
    for entry in entries:
        table.add_row(
            entry["name"],
            entry["split"],
            f"{entry['spearman']:.3f}",
            f"{entry['noise']:.1%}",
            f"{entry['hypervolume']:.4f}",
            f"{entry['hypervolume_random']:.4f}",
            str(entry["distinct_nondominated"]),
        )
    for split in ("search", "unseen"):
        rows = [entry for entry in entries if entry["split"] == split]
        if rows:
            keys = ("spearman", "noise", "hypervolume", "hypervolume_random", "distinct_nondominated")
            means = {key: sum(entry[key] for entry in rows) / len(rows) for key in keys}
            table.add_row(
                "mean",
                split,
                f"{means['spearman']:.3f}",
                f"{means['noise']:.1%}",
                f"{means['hypervolume']:.4f}",
                f"{means['hypervolume_random']:.4f}",
                f"{means['distinct_nondominated']:.1f}",
                style="bold",
            )
    return table


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
