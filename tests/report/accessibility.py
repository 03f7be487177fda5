"""axe-core on a page in headless Chromium: what it finds wrong at several widths, in light or dark colours."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from report.browser import browse, outcome, watched

#: opens what a reader may open, of the tables of figures the first, and lets axe-core look; then once more at words
#: that are dark wherever they stand
LOOK = """
[document.querySelector(".numbers"), ...document.querySelectorAll("details:not(.numbers)")].forEach((each) => {
  each.open = true;
});
const planted = document.createElement("p");
planted.textContent = "planted";
planted.style.color = "#222";
(async () => {
  const {violations, passes} = await axe.run({resultTypes: ["violations"]});
  const ground = document.querySelector("section");
  ground.append(planted);
  const found = await axe.run(planted, {runOnly: ["color-contrast"]});
  parent.postMessage({troubles, seen: {
    width: innerWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ground: getComputedStyle(ground).backgroundColor,
    passed: passes.map((rule) => rule.id),
    wrong: violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}: ${node.failureSummary}`)),
    planted: found.violations.map((rule) => rule.id),
  }}, "*");
})().catch(note);
"""
#: the page stands in frames, because a window of Chromium's is no narrower than 500 pixels
FRAME = '<iframe src="inner.html" style="width:{width}px;height:900px;border:0"></iframe>'
COLLECT = """<pre id="troubles"></pre><script>
const all = {troubles: [], seen: []};
addEventListener("message", ({data}) => {
  all.troubles.push(...data.troubles);
  all.seen.push(data.seen);
  troubles.textContent = JSON.stringify(all);
});
</script>"""


def look(page: Path, folder: Path, widths: Sequence[int], dark: bool) -> list[dict[str, Any]]:
    """What the axe-core of the package axe-core-python finds, a report per width.

    A report tells the width, whether the page believes to be dark and the `ground` of its parts, the rules that were
    `passed`, what is `wrong`, and what axe-core said of words `planted` in #222, which only a light ground lets read.
    """
    axe = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    text = watched(page, LOOK).replace("document.body.append(box);", "")
    (folder / "inner.html").write_text(text.replace("<title>", f"<script>{axe}</script><title>", 1), encoding="utf-8")
    frames = folder / "frames.html"
    frames.write_text("".join(FRAME.format(width=width) for width in widths) + COLLECT, encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    document, _ = browse(frames, folder, scheme, f"--window-size={sum(widths) + 100},1000", "--hide-scrollbars")
    troubles, seen = outcome(document)
    assert troubles == []
    return seen
