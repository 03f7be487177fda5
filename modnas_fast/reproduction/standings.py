"""The short summary of a reproduction on the terminal."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from modnas_fast.runtime.terminal_table import Column, FittedTable


def headline_table(content: dict[str, Any]) -> FittedTable:
    """Methods × mean ratio of search and unseen devices, least mean of a device, networks per device.

    Args:
        content: of reproduction.json.
    """
    splits = {device["name"]: device["split"] for device in content["devices"]}
    ranks = {"search": 0, "unseen": 0, "worst device": 1, "networks": 2, "seconds": 3}
    columns = [Column("method"), *(Column(heading, rank, right=True) for heading, rank in ranks.items())]
    rows = []
    for method in content["methods"]:
        devices = {name: [run["devices"][name] for run in method["runs"] if name in run["devices"]] for name in splits}
        ratios = {name: fmean(score["ratio"] for score in scores) for name, scores in devices.items() if scores}
        by_split = [[ratio for name, ratio in ratios.items() if splits[name] == s] for s in ("search", "unseen")]
        worst = min(ratios, key=lambda name: ratios[name])
        rows.append([
            method["label"],
            *(f"{fmean(values):.4f}" if values else "–" for values in by_split),
            f"{ratios[worst]:.4f} {worst}",
            f"{fmean(score['networks'] for scores in devices.values() for score in scores):.1f}",
            f"{fmean(run['seconds'] for run in method['runs']):.0f}",
        ])  # fmt: skip
    return FittedTable(columns, rows, _title(content))


def _title(content: dict[str, Any]) -> str:
    exact = f"the {content['front']}" if content.get("front") else ""
    exact = exact or ("the table's judged front" if content.get("judged") else "the exact front")
    return f"Share of the hypervolume of {exact}, mean over devices and seeds"
