"""Both pages before axe-core, at the width of a desk and of a telephone, in light and dark colours."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.accessibility import look
from report.browser import needs_browser
from report.make_reproduction import make_reproduction
from report.make_run import THREE, make_history, make_predictor, make_result, write_run

from modnas_fast.report.reproduction.contents import Reproduction
from modnas_fast.report.reproduction.page import reproduction_html
from modnas_fast.report.run.contents import read_run
from modnas_fast.report.run.page import page_html

pytestmark = needs_browser
pytest.importorskip("axe_core_python")

WIDTHS = (1400, 420)
GROUNDS = {False: "rgb(255, 255, 255)", True: "rgb(26, 26, 26)"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of a run that has every kind of figure, of tile and of mark, and one of a reproduction."""
    folder = tmp_path_factory.mktemp("accessibility")
    devices = ("pi",), ("gpu",)
    result, *others = (make(*devices, costs=THREE) for make in (make_result, make_history, make_predictor))
    device = result["devices"][0]
    device["trust"] = {"latency_ms": {"trustworthy": False, "why": "9 of 20 rounds disturbed"}}
    device["noise"]["latency_ms"], device["predictor"]["energy_mj"]["spearman"] = 0.2, 0.85
    result["verified"][0]["sample"] = {"prompt": "if a", "continuation": " then b", "seed": 5}
    reproduction = make_reproduction(("1080ti_1", "pixel3"), ("raspi4",), seeds=2)
    reproduction["methods"] = reproduction["methods"][:3]
    texts = {
        "run": page_html(read_run(write_run(folder / "run", result, *others))),
        "reproduction": reproduction_html(Reproduction.model_validate(reproduction)),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["run", "reproduction"])
def test_axe_finds_nothing_wrong(pages: dict[str, Path], tmp_path: Path, name: str, dark: bool) -> None:
    reports = look(pages[name], tmp_path, WIDTHS, dark)
    assert sorted(report["width"] for report in reports) == sorted(WIDTHS)
    for report in reports:
        assert (report["dark"], report["ground"]) == (dark, GROUNDS[dark])
        assert {"color-contrast", "heading-order", "landmark-one-main", "skip-link"} <= set(report["passed"])
        assert report["planted"] == ["color-contrast"] * dark, "so that dark words on a dark ground are found"
        assert report["wrong"] == []
