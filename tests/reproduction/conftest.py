"""Reproductions on made-up tables in which every search is as small as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_tables import write_tables

TINY = (
    "devices.networks=40",
    "task.queries=8",
    "predictor.steps=5",
    "predictor.hidden=8",
    "hypernetwork.intervals=3",
    "search.steps=2",
    "search.refine_steps=2",
    "search.refine_networks=50",
    "search.evaluations=1",
    "evaluation.rays=6",
)
SETTINGS = ("1080ti_1", "fpga", "pixel3", "raspi4")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("data"), SETTINGS)


@pytest.fixture
def tables(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up tables in the place of the real ones, and a sample in the place of the whole space."""
    monkeypatch.setenv("MODNAS_DATA", str(home))
    monkeypatch.setattr("modnas_fast.runs.preparation.CANDIDATES", 500)
    monkeypatch.setattr("modnas_fast.search.bilevel.CANDIDATES", 500)
    return home


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """Overrides of a preset."""
    return TINY
