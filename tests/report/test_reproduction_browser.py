"""The page of a reproduction in a real browser: headless Chromium, opened as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report.browser import drawn, needs_browser, phone_width, watch
from report.make_reproduction import make_reproduction

from modnas_fast.report.reproduction.contents import Reproduction
from modnas_fast.report.reproduction.page import reproduction_html

pytestmark = needs_browser


ACT = """
  const chip = (index) => document.querySelector(`#methods .chip[data-shows="${index}"]`);
  const hidden = () => document.querySelector('[data-figure="radar"]').data
    .filter((trace) => trace.visible === false).map((trace) => trace.meta);
  const widths = () => [...document.querySelectorAll(".plot .main-svg")].map((svg) => svg.clientWidth);
  window.seen = {};
  chip(0).click();
  chip(2).click();
  window.seen.hidden = hidden();
  window.seen.pressed = document.querySelectorAll('.chip[aria-pressed="false"]').length;
  chip("all").click();
  window.seen.shown = hidden();
  window.seen.screen = widths();
  dispatchEvent(new Event("beforeprint"));
  window.seen.paper = widths();
  dispatchEvent(new Event("afterprint"));
  window.seen.after = widths();"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = make_reproduction(("1080ti_1", "essential_ph_1"), ("titan_rtx_256",), seeds=2)
    content["methods"] = content["methods"][:3]
    content["three_objectives"]["devices"] = content["three_objectives"]["devices"][:1]
    path = tmp_path_factory.mktemp("browser") / "reproduction.html"
    path.write_text(reproduction_html(Reproduction.model_validate(content)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def visit(page: Path) -> tuple[str, list[str], Any]:
    """The page after `ACT`: document, errors and what was seen."""
    return watch(page, page.parent, ACT, "--window-size=1280,900")


def test_all_plots_are_drawn_without_an_error(visit: tuple[str, list[str], Any]) -> None:
    document, troubles, _ = visit
    assert troubles == []
    assert drawn(document) == 13


def test_hiding_methods_and_showing_all_again(visit: tuple[str, list[str], Any]) -> None:
    seen = visit[2]
    assert (seen["hidden"], seen["shown"]) == ([0, 2], [])
    assert seen["pressed"] == 6, "two methods in each of three rows of buttons"


def test_plots_fit_on_paper_and_return_to_the_screen(visit: tuple[str, list[str], Any]) -> None:
    seen = visit[2]
    assert max(seen["paper"]) <= 700 < max(seen["screen"])
    assert seen["after"] == seen["screen"]


def test_nothing_is_wider_than_a_telephone(page: Path, tmp_path: Path) -> None:
    assert phone_width(page, tmp_path) <= 400
