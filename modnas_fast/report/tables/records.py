"""What tables are made of."""

from __future__ import annotations

from typing import Any

from modnas_fast.report.reproduction.numbers import Axis, Step

Record = dict[str, Any]
"""A row: plain values by column; None where nothing is known."""
Tables = dict[str, list[Record]]
"""Records by the name of their table; those of a table have the same columns in the same order."""


def of_step(axis: Axis, step: Step) -> Record:
    """The columns of a place of a mean curve."""
    return {
        "axis": axis,
        "x": step.x,
        "seeds": step.seeds,
        "ratio_mean": step.mean,
        "ratio_low": step.low,
        "ratio_high": step.high,
    }
