"""A run with three objectives in a real browser: figures that show the same networks chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report.browser import drawn, needs_browser, phone_width, watch
from report.make_run import FOUR, THREE, WITH_PARAMETERS, tabulate, write_whole_run

from modnas_fast.report import write_report

pytestmark = needs_browser

FRONTS = ("front-0", "front-0-1", "front-0-2")
#: what each linked figure of the open device shows as chosen, and what the mouse can do to it
HELPERS = """
  const panel = document.getElementById("device-0");
  const place = (name) => panel.querySelector(`[data-figure="${name}"]`);
  const bright = (name) => [...new Set(place(name).data.flatMap((trace) => !trace.customdata ? []
    : (trace.selectedpoints ?? [...trace.customdata.keys()]).map((i) => trace.customdata[i])))].sort((a, b) => a - b);
  const lines = () => [...new Set(place("parallel-0").data.filter((t) => t.opacity !== 0.1)
    .map((t) => t.customdata[0]))].sort((a, b) => a - b);
  const rows = () => [...panel.querySelectorAll("tr.chosen")].map((row) => Number(row.dataset.network));
  const now = () => ({
    ...Object.fromEntries(["front-0", "front-0-1", "front-0-2", "triangle-0", "parallel-0"]
      .filter(place).map((name) => [name, bright(name)])),
    lines: lines(), rows: rows(), line: panel.querySelector(".choice").hidden ? "" : panel.querySelector(".choice span").textContent,
  });
  // a real mouse, where the figure draws a point
  const press = (name, curve, number) => {
    const marks = place(name).querySelectorAll(".scatterlayer .trace, .layer-trace, .scatterlayer > g");
    const at = place(name)._fullData[curve];
    return [marks.length, at.type];
  };
  const tell = (name, event, points) => place(name).emit(event, points && {points});
  const point = (name, network) => {
    const curveNumber = place(name).data.findIndex((trace) => trace.customdata?.includes(network));
    return {curveNumber, pointNumber: place(name).data[curveNumber].customdata.indexOf(network), customdata: network};
  };
"""


def make(folder: Path, costs: tuple[str, ...]) -> Path:
    run = write_whole_run(folder, ("pi", "phone"), ("gpu",), costs=costs)
    return write_report(run)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("three") / "run", THREE)


@pytest.fixture(scope="module")
def front(page: Path) -> list[dict[str, Any]]:
    """The front of the first device, as the table shows it."""
    return json.loads((page.parent / "result.json").read_text(encoding="utf-8"))["devices"][0]["front"]


def test_all_plots_are_drawn_without_an_error(page: Path, tmp_path: Path) -> None:
    act = f"{HELPERS} window.seen = [...panel.querySelectorAll('.plot')].map((p) => [p.dataset.figure, !!p._fullData]);"
    document, troubles, seen = watch(page, tmp_path, act)
    assert troubles == []
    wanted = [*FRONTS, "triangle-0", "parallel-0", "predictor-0-0", "predictor-0-1"]
    assert seen == [[name, True] for name in wanted]
    assert drawn(document) == len(wanted) + 8, "six over the search's steps, and a predictor of either cost"


def test_a_click_chooses_a_network_everywhere_and_another_lets_go(page: Path, tmp_path: Path) -> None:
    act = """
      window.seen = [now()];
      const soon = (action) => new Promise((done) => setTimeout(() => { action(); setTimeout(done, 20); }, 0));
      const number = rowsOf()[1];
      (async () => {
        for (const name of ["front-0-1", "parallel-0", "triangle-0"]) {
          await soon(() => tell(name, "plotly_click", [point(name, number)]));
          window.seen.push(now());
          await soon(() => tell("front-0-2", "plotly_click", [point("front-0-2", number)]));
          window.seen.push(now());
        }
        window.seen.push(number);
      })();"""
    rows_of = "const rowsOf = () => [...panel.querySelectorAll('tr[data-network]')].map((r) => Number(r.dataset.network));"
    _, troubles, seen = watch(page, tmp_path, HELPERS + rows_of + act)
    assert troubles == []
    *states, number = seen
    everything = states[0]
    assert len(everything["lines"]) > 5
    assert everything["rows"] == []
    one = dict.fromkeys((*FRONTS, "triangle-0", "lines", "rows"), [number])
    for chosen, let_go in zip(states[1::2], states[2::2], strict=True):
        assert {key: chosen[key] for key in one} == one
        assert chosen["line"] == "1 network chosen"
        assert let_go == everything


def test_a_box_chooses_several_and_the_button_shows_all(page: Path, tmp_path: Path) -> None:
    act = """
      window.seen = [now()];
      const wait = () => new Promise((done) => setTimeout(done, 30));
      const [first, second] = [...panel.querySelectorAll("tr[data-network]")].map((r) => Number(r.dataset.network));
      (async () => {
        tell("parallel-0", "plotly_selected", [point("parallel-0", first), point("parallel-0", second)]);
        await wait();
        window.seen.push(now());
        panel.querySelector(".choice button").click();
        await wait();
        window.seen.push(now(), [first, second].sort((a, b) => a - b));
      })();"""
    _, troubles, (before, chosen, after, two) = watch(page, tmp_path, HELPERS + act)
    assert troubles == []
    assert [chosen[name] for name in (*FRONTS, "triangle-0", "lines")] == [two] * 5
    assert sorted(chosen["rows"]) == two
    assert chosen["line"] == "2 networks chosen"
    assert after == before


def test_dragging_the_mouse_over_points_chooses_them(page: Path, tmp_path: Path) -> None:
    act = """
      const gd = place("front-0");
      const box = gd.querySelector(".nsewdrag").getBoundingClientRect();
      const mouse = (type, x, y, on) => on.dispatchEvent(new MouseEvent(type, {
        bubbles: true, cancelable: true, view: window, clientX: box.left + x, clientY: box.top + y,
        buttons: type === "mouseup" ? 0 : 1,
      }));
      gd.scrollIntoView();
      Object.assign(box, gd.querySelector(".nsewdrag").getBoundingClientRect());
      const at = gd.querySelector(".nsewdrag").getBoundingClientRect();
      const event = (type, x, y, on) => on.dispatchEvent(new MouseEvent(type, {
        bubbles: true, cancelable: true, view: window, clientX: at.left + x, clientY: at.top + y,
        buttons: type === "mouseup" ? 0 : 1,
      }));
      event("mousedown", 1, 1, gd.querySelector(".nsewdrag"));
      event("mousemove", at.width / 4, at.height / 2, document);
      event("mousemove", at.width / 2, at.height - 2, document);
      event("mouseup", at.width / 2, at.height - 2, document);
      setTimeout(() => { window.seen = now(); }, 150);"""
    _, troubles, seen = watch(page, tmp_path, HELPERS + act, "--window-size=1280,900")
    assert troubles == []
    assert seen["line"].endswith("chosen")
    left = seen["front-0"]
    assert 0 < len(left) < len(json.loads((page.parent / "result.json").read_text())["devices"][0]["rays"])
    assert seen["front-0-1"] == seen["front-0-2"] == seen["triangle-0"] == seen["lines"] == left


@pytest.mark.parametrize("width", ["1280", "1920"])
def test_nothing_is_wider_than_its_window(page: Path, tmp_path: Path, width: str) -> None:
    act = "window.seen = [document.documentElement.scrollWidth, document.documentElement.clientWidth];"
    _, troubles, (content, window) = watch(page, tmp_path, act, f"--window-size={width},900", "--hide-scrollbars")
    assert troubles == []
    assert content <= window == int(width)


def test_nothing_is_wider_than_a_telephone(page: Path, tmp_path: Path) -> None:
    assert phone_width(page, tmp_path) <= 400


@pytest.mark.parametrize(("costs", "figures"), [(FOUR, 8), (WITH_PARAMETERS, 6)])
def test_other_objectives_are_drawn_too(tmp_path: Path, costs: tuple[str, ...], figures: int) -> None:
    path = make(tmp_path / "run", costs)
    act = f"{HELPERS} window.seen = [...panel.querySelectorAll('.plot')].map((p) => p.dataset.figure);"
    document, troubles, seen = watch(path, tmp_path, act)
    assert troubles == []
    assert ("triangle-0" in seen) == (len(costs) == 2)
    assert "predictor-0-1" not in seen or costs == FOUR
    pairs = (len(costs) + 1) * len(costs) // 2
    assert len([name for name in seen if name.startswith("front")]) == pairs
