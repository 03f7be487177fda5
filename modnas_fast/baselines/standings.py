"""What a contest showed: one line per method, over all devices and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from modnas_fast.baselines import BASELINES
from modnas_fast.runtime.terminal_table import Column, FittedTable
from modnas_fast.spaces.nb201.published import PAPER_SEARCH


def standings(entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per method: its runs, means of the hypervolume's ratio to the exact front's, and its cost.

    Devices are told apart as in the paper, which searches on 13; a mean is None where no run belongs to it. Baselines
    see neither kind before: each spends its evaluations on every device.
    """
    return {
        method: _standing([entry for entry in entries if entry["method"] == method])
        for method in sorted({entry["method"] for entry in entries}, key=_rank)
    }


def _rank(method: str) -> tuple[int, str]:
    """Built-in methods in their order, then a user's by name."""
    order = list(BASELINES)
    return (order.index(method) if method in order else len(order), method)


def _standing(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ratios: dict[str, list[float]] = {"search": [], "unseen": []}
    for entry in entries:
        ratios["search" if entry["device"] in PAPER_SEARCH else "unseen"].append(entry["score"]["ratio"])
    return {
        "runs": len(entries),
        **{f"ratio_{split}": fmean(values) if values else None for split, values in ratios.items()},
        "worst": min(entry["score"]["ratio"] for entry in entries),
        "networks": fmean(entry["score"]["networks"] for entry in entries),
        "seconds": fmean(entry["seconds"] for entry in entries),
    }


def standings_table(summary: dict[str, dict[str, Any]], settings: dict[str, Any]) -> FittedTable:
    """The summary for the terminal."""
    ranks = {"runs": 3, "search": 0, "unseen": 0, "worst": 1, "networks": 2, "seconds": 4}
    columns = [Column("method"), *(Column(heading, rank, right=True) for heading, rank in ranks.items())]
    rows = []
    for method, line in summary.items():
        means = [line["ratio_search"], line["ratio_unseen"], line["worst"]]
        shown = ["–" if mean is None else f"{mean:.4f}" for mean in means]
        rows.append([method, str(line["runs"]), *shown, f"{line['networks']:.1f}", f"{line['seconds']:.2f}"])
    title = (
        f"{settings['space']}, {settings['task']}: share of the exact front's hypervolume\n"
        f"after {settings['evaluations']} true evaluations per device (search, unseen: the paper's devices)"
    )
    return FittedTable(columns, rows, title)
