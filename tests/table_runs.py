"""The smallest searches on the real tables, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modnas_fast.config import Config, make_config

SEARCH, UNSEEN = ("pixel3", "gold_6240"), ("fpga",)
#: long enough to be stopped in its midst
TINY_TABLE = {
    "devices.search": "[pixel3,gold_6240]",
    "devices.unseen": "[fpga]",
    "devices.networks": 80,
    "task.queries": 30,
    "predictor.steps": 30,
    "predictor.hidden": 16,
    "search.steps": 20,
    "search.refine_steps": 20,
    "search.refine_preferences": 3,
    "search.refine_networks": 200,
    "search.evaluations": 2,
    "search.checkpoint_every": 2,
    "evaluation.rays": 8,
    "report.plots": False,
}


def table_overrides(**changes: Any) -> list[str]:
    """`a.b=c` of a tiny search with changes; `a__b=c` stands for a.b=c."""
    values = {**TINY_TABLE, **{key.replace("__", "."): value for key, value in changes.items()}}
    return [f"{key}={value}" for key, value in values.items()]


def table_config(preset: str = "nb201", data: Path | None = None, **changes: Any) -> Config:
    """The configuration of a tiny search."""
    sections = {} if data is None else {"task": {"data": str(data)}}
    return make_config(preset=preset, overrides=table_overrides(**changes), **sections)
