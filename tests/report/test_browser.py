"""The page in a real browser: headless Chromium, opened as a file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from report.make_run import make_history, make_predictor, make_result, write_run, write_whole_run

from modnas_fast.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--no-first-run", "--disable-component-update", "--disable-sync",
    "--disable-extensions",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000", "--dump-dom",
)  # fmt: skip

WATCH = """<script>
window.troubles = [];
const note = (text) => window.troubles.push(String(text));
addEventListener("error", (event) => note(event.message), true);
addEventListener("unhandledrejection", (event) => note(event.reason));
document.addEventListener("securitypolicyviolation", (event) => note("blocked " + event.blockedURI));
console.error = note;
console.warn = note;
addEventListener("load", () => setTimeout(() => {
  try { ACT } catch (error) { note(error); }
  setTimeout(() => {
    const box = document.createElement("pre");
    box.id = "troubles";
    box.textContent = JSON.stringify({troubles: window.troubles, seen: window.seen || null});
    document.body.append(box);
  }, 300);
}, 300));
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome on PATH")


def browse(page: Path, folder: Path, *flags: str) -> tuple[str, str]:
    """The document as it stands after the scripts ran, and what the browser logged."""
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def watched(run: Path, act: str = "") -> str:
    """A copy of the page that collects errors, and what the script `act` stores in `window.seen`."""
    text = (run / "report.html").read_text(encoding="utf-8")
    return text.replace("<title>", WATCH.replace("ACT", act) + "<title>", 1)


def outcome(document: str) -> tuple[list[str], Any]:
    """The errors and `window.seen` that a watched page left behind."""
    found = re.search(r'<pre id="troubles">(.+?)</pre>', document, re.DOTALL)
    assert found, "the page's scripts did not reach their end"
    report = json.loads(unescape(found.group(1)))
    return report["troubles"], report["seen"]


def watch(run: Path, folder: Path, act: str = "") -> tuple[str, list[str], Any]:
    """Document, errors and `window.seen` of a watched copy of the page."""
    copy = folder / "watched.html"
    copy.write_text(watched(run, act), encoding="utf-8")
    document, _ = browse(copy, folder)
    return document, *outcome(document)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_whole_run(tmp_path_factory.mktemp("browser") / "run")
    write_report(folder)
    return folder


def drawn(document: str) -> int:
    return len(re.findall(r'class="plot js-plotly-plot"', document))


def test_all_plots_are_drawn_without_an_error(run: Path, tmp_path: Path) -> None:
    document, troubles, _ = watch(run, tmp_path)
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
    _, troubles, _ = watch(run, tmp_path, act)
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
    _, troubles, seen = watch(run, tmp_path, act)
    assert troubles == []
    assert seen == {"open": ["device-1"], "chosen": "1", "hidden": [2, 2], "pressed": 2, "front": True}


def test_nothing_is_wider_than_a_telephone(run: Path, tmp_path: Path) -> None:
    act = "window.seen = [document.documentElement.scrollWidth, document.documentElement.clientWidth];"
    text = watched(run, act).replace(
        "document.body.append(box);", "parent.postMessage(box.textContent, '*');"
    )
    (tmp_path / "inner.html").write_text(text, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        '<iframe src="inner.html" style="width:400px;height:800px;border:0"></iframe>'
        '<pre id="troubles"></pre>'
        "<script>addEventListener('message', (event) => {troubles.textContent = event.data})</script>",
        encoding="utf-8",
    )
    troubles, (content, window) = outcome(browse(frame, tmp_path, "--hide-scrollbars")[0])
    assert troubles == []
    assert content <= window == 400


def test_hostile_names_run_no_script(tmp_path: Path) -> None:
    names = ("</script><script>console.error('out')</script>", "<img src=x onerror=console.error('loaded')>")
    result = make_result(names, ())
    result["task"]["name"] = names[0]
    folder = write_run(tmp_path / "run", result, make_history(names, ()), make_predictor(names, ()))
    write_report(folder)
    document, troubles, _ = watch(folder, tmp_path)
    assert troubles == []
    assert drawn(document) == 8
    assert "<img" not in document
