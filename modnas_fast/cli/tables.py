"""The short summary of a run on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from rich.console import RenderableType

from modnas_fast.result import Result
from modnas_fast.runtime.terminal_table import Column, FittedTable, WholeLine


def summary_tables(result: Result) -> list[RenderableType]:
    """A table of devices, and where there are any one of verified networks with a line for each behind it."""
    parts: list[RenderableType] = [_device_table(result)]
    if result.content["verified"]:
        parts.append(_verified_table(result))
        texts = [entry["architecture"] for entry in result.content["verified"]]
        parts += [WholeLine(f"n{number}  {text}") for number, text in enumerate(texts, 1)]
    return parts


#: key of a device's entry: heading, format, rank; shown where some device has it
COLUMNS = {
    "spearman": ("Spearman", ".3f", 4),
    "noise": ("noise", ".1%", 5),
    "hypervolume": ("MODNAS", ".4f", 0),
    "hypervolume_random": ("random", ".4f", 1),
    "hypervolume_ratio": ("of exact", ".1%", 1),
    "distinct_nondominated": ("networks", "d", 3),
}


def _device_table(result: Result) -> FittedTable:
    entries = result.content["devices"]
    present = {key: style for key, style in COLUMNS.items() if any(entry.get(key) is not None for entry in entries)}
    columns = [Column("device"), Column("split", rank=2)]
    columns += [Column(heading, rank, right=True) for heading, _, rank in present.values()]
    rows = [
        [entry["name"], entry["split"], *(_cell(entry.get(key), style) for key, (_, style, _) in present.items())]
        for entry in entries
    ]
    for split in ("search", "unseen"):
        of_split = [entry for entry in entries if entry["split"] == split]
        if of_split:
            means = [_mean(entry.get(key) for entry in of_split) for key in present]
            cells = [_cell(mean, style.replace("d", ".1f")) for mean, (_, style, _) in zip(means, present.values())]
            rows.append([f"mean of {split}", split, *cells])
    return FittedTable(columns, rows, _title(result), range(len(entries), len(rows)))


def _title(result: Result) -> str:
    kind = "" if result.error_kind == "inherited" else ", by true errors and measured latencies of the table"
    return f"Hypervolume of the front per device{kind} (unseen: not part of the search)"


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _cell(value: float | None, style: str) -> str:
    return "–" if value is None else format(value, style)


def _verified_table(result: Result) -> FittedTable:
    columns = [
        Column("network"),
        Column("supernet error", rank=2, right=True),
        Column("test error", right=True),
        Column("latency: measured / predicted", rank=1, right=True),
    ]
    rows = []
    for number, entry in enumerate(result.content["verified"], 1):
        ratios = sorted(v["measured"] / v["predicted"] for v in entry["latency_ms"].values())
        errors = [f"{entry['supernet_error']:.2f} %", f"{entry['test_error']:.2f} %"]
        rows.append([f"n{number}", *errors, f"{ratios[0]:.2f} to {ratios[-1]:.2f}"])
    return FittedTable(columns, rows, "Verified: trained from scratch and measured")
