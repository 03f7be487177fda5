"""Headless Chromium for tests of pages, opened as files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

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
const toDraw = () => [...document.querySelectorAll(".plot:not(.js-plotly-plot)")].some((place) => place.clientWidth);
const act = (tries) => {
  if (tries && toDraw()) return setTimeout(act, 50, tries - 1);  // figures are drawn one per turn
  try { ACT } catch (error) { note(error); }
  setTimeout(() => {
    const box = document.createElement("pre");
    box.id = "troubles";
    box.textContent = JSON.stringify({troubles: window.troubles, seen: window.seen || null});
    document.body.append(box);
  }, 300);
};
addEventListener("load", () => setTimeout(act, 300, 100));
</script>"""

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome on PATH")


def browse(page: Path, folder: Path, *flags: str) -> tuple[str, str]:
    """The document as it stands after the scripts ran, and what the browser logged."""
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def watched(page: Path, act: str = "") -> str:
    """A copy of the page that collects errors, and what the script `act` stores in `window.seen`."""
    text = page.read_text(encoding="utf-8")
    return text.replace("<title>", WATCH.replace("ACT", act) + "<title>", 1)


def outcome(document: str) -> tuple[list[str], Any]:
    """The errors and `window.seen` that a watched page left behind."""
    found = re.search(r'<pre id="troubles">(.+?)</pre>', document, re.DOTALL)
    assert found, "the page's scripts did not reach their end"
    report = json.loads(unescape(found.group(1)))
    return report["troubles"], report["seen"]


def watch(page: Path, folder: Path, act: str = "", *flags: str) -> tuple[str, list[str], Any]:
    """Document, errors and `window.seen` of a watched copy of the page."""
    copy = folder / "watched.html"
    copy.write_text(watched(page, act), encoding="utf-8")
    document, _ = browse(copy, folder, *flags)
    return document, *outcome(document)


def drawn(document: str) -> int:
    """How many figures were drawn."""
    return len(re.findall(r'class="plot js-plotly-plot"', document))


def phone_width(page: Path, folder: Path) -> int:
    """How wide the content of the page is on a telephone of 400 pixels, where it meets no error."""
    act = "window.seen = [document.documentElement.scrollWidth, document.documentElement.clientWidth];"
    text = watched(page, act).replace("document.body.append(box);", "parent.postMessage(box.textContent, '*');")
    (folder / "inner.html").write_text(text, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(
        '<iframe src="inner.html" style="width:400px;height:800px;border:0"></iframe>'
        '<pre id="troubles"></pre>'
        "<script>addEventListener('message', (event) => {troubles.textContent = event.data})</script>",
        encoding="utf-8",
    )
    troubles, (content, window) = outcome(browse(frame, folder, "--hide-scrollbars")[0])
    assert troubles == []
    assert window == 400
    return content
