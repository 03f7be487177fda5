"""The page in a real browser: headless Chromium, opened as a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report.browser import browse, drawn, needs_browser, phone_width, watch
from report.make_run import make_history, make_predictor, make_result, write_run, write_whole_run

from modnas_fast.report import write_report

pytestmark = needs_browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_whole_run(tmp_path_factory.mktemp("browser") / "run")
    write_report(folder)
    return folder


def test_all_plots_are_drawn_without_an_error(run: Path, tmp_path: Path) -> None:
    document, troubles, _ = watch(run / "report.html", tmp_path)
    assert troubles == []
    assert drawn(document) == 8, "six shared figures and two of the selected device"
    assert document.count('class="main-svg"') >= 8
    assert len(re.findall(r'class="panel"[^>]*hidden', document)) == 4


def test_the_browser_logs_nothing_for_the_page_itself(run: Path, tmp_path: Path) -> None:
    document, log = browse(run / "report.html", tmp_path)
    assert drawn(document) == 8
    assert "CONSOLE" not in log


def test_the_watch_sees_errors_when_there_are_some(run: Path, tmp_path: Path) -> None:
    act = 'console.error("planted"); new Image().src = "https://example.invalid/x.png"; undefinedName();'
    _, troubles, _ = watch(run / "report.html", tmp_path, act)
    assert any("planted" in text for text in troubles)
    assert any("undefinedName" in text for text in troubles)
    assert any(text.startswith("blocked https://example.invalid") for text in troubles)
    broken = tmp_path / "broken.html"
    broken.write_text('<script>console.error("planted")</script>', encoding="utf-8")
    assert "CONSOLE" in browse(broken, tmp_path)[1]


def test_selecting_and_hiding_devices(run: Path, tmp_path: Path) -> None:
    act = """
      document.getElementById("next").click();
      document.querySelector('#history .chip[data-shows="2"]').click();
      const place = document.querySelector('[data-figure="hypervolume"]');
      window.seen = {
        open: [...document.querySelectorAll(".panel")].filter((p) => !p.hidden).map((p) => p.id),
        chosen: document.getElementById("device").value,
        hidden: place.data.filter((t) => t.visible === false).map((t) => t.meta),
        pressed: document.querySelectorAll('.chip[data-shows="2"][aria-pressed="false"]').length,
        front: document.querySelector('[data-figure="front-1"] .main-svg') !== null,
      };"""
    _, troubles, seen = watch(run / "report.html", tmp_path, act)
    assert troubles == []
    assert seen == {"open": ["device-1"], "chosen": "1", "hidden": [2, 2], "pressed": 2, "front": True}


def test_many_devices_are_found_by_their_names(tmp_path: Path) -> None:
    names = tuple(f"device_{i}" for i in range(40))
    run = write_run(tmp_path / "run", make_result(names, ()), make_history(names, ()), make_predictor(names, ()))
    write_report(run, with_plots=False)
    act = """
      const box = document.getElementById("filter");
      const rows = () => [...document.querySelectorAll("tr[data-name]")].filter((row) => row.offsetParent);
      const type = (text) => { box.value = text; box.dispatchEvent(new Event("input")); };
      const all = rows().length;
      type(" E_3");
      const some = rows().map((row) => row.dataset.name).sort();
      const told = document.getElementById("filtered").textContent;
      type("");
      window.seen = {all, some, told, again: rows().length};"""
    _, troubles, seen = watch(run / "report.html", tmp_path, act)
    found = sorted(name for name in names if name.startswith("device_3"))
    assert troubles == []
    assert seen == {"all": 40, "some": found, "told": f"{len(found)} of 40", "again": 40}


def test_nothing_is_wider_than_a_telephone(run: Path, tmp_path: Path) -> None:
    assert phone_width(run / "report.html", tmp_path) <= 400


def test_hostile_names_run_no_script(tmp_path: Path) -> None:
    names = ("</script><script>console.error('out')</script>", "<img src=x onerror=console.error('loaded')>")
    result = make_result(names, ())
    result["task"]["name"] = names[0]
    folder = write_run(tmp_path / "run", result, make_history(names, ()), make_predictor(names, ()))
    write_report(folder)
    document, troubles, _ = watch(folder / "report.html", tmp_path)
    assert troubles == []
    assert drawn(document) == 8
    assert "<img" not in document
