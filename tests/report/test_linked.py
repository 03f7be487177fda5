"""A run with three objectives in a real browser: figures that show the same networks chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report.browser import drawn, needs_browser, phone_width, watch
from report.make_run import FOUR, THREE, WITH_PARAMETERS, write_whole_run

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
  const line = panel.querySelector(".choice");
  const now = () => ({
    ...Object.fromEntries(["front-0", "front-0-1", "front-0-2", "triangle-0"].map((name) => [name, bright(name)])),
    lines: lines(), rows: rows(), line: line.hidden ? "" : line.firstElementChild.textContent,
  });
  const mouse = (type, at, on) => on.dispatchEvent(new MouseEvent(type, {
    bubbles: true, cancelable: true, view: window, clientX: at[0], clientY: at[1], buttons: type === "mouseup" ? 0 : 1,
  }));
  // Plotly follows a pressed mouse all over the document.
  const press = (name, path) => {
    mouse("mousedown", path[0], place(name).querySelector(".nsewdrag"));
    path.forEach((at) => mouse("mousemove", at, document));
    mouse("mouseup", path.at(-1), document);
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
      const number = Number(panel.querySelectorAll("tr[data-network]")[1].dataset.network);
      (async () => {
        for (const name of ["front-0-1", "parallel-0", "triangle-0"]) {
          await soon(() => tell(name, "plotly_click", [point(name, number)]));
          window.seen.push(now());
          await soon(() => tell("front-0-2", "plotly_click", [point("front-0-2", number)]));
          window.seen.push(now());
        }
        window.seen.push(number);
      })();"""
    _, troubles, seen = watch(page, tmp_path, HELPERS + act)
    assert troubles == []
    *states, number = seen
    everything = states[0]
    assert len(everything["lines"]) > 5
    assert everything["rows"] == []
    one = {key: [number] for key in (*FRONTS, "triangle-0", "lines", "rows")}
    for chosen, let_go in zip(states[1::2], states[2::2], strict=True):
        assert {key: chosen[key] for key in one} == one
        assert chosen["line"] == "1 network chosen"
        assert let_go == everything


def test_a_button_of_a_row_chooses_its_network_by_keyboard(page: Path, tmp_path: Path) -> None:
    act = """
      const buttons = [...panel.querySelectorAll("tr[data-network] .choose")];
      const pressed = () => buttons.filter((each) => each.getAttribute("aria-pressed") === "true").length;
      buttons[1].focus();
      const focused = document.activeElement === buttons[1];
      getSelection().selectAllChildren(buttons[0].closest("tr"));  // what somebody marked stops a mouse only
      buttons[1].click();
      const number = Number(buttons[1].closest("tr").dataset.network);
      window.seen = {focused, number, chosen: now(), pressed: pressed()};
      buttons[1].click();
      window.seen.after = pressed();"""
    _, troubles, seen = watch(page, tmp_path, HELPERS + act)
    assert troubles == []
    assert seen["focused"] and (seen["pressed"], seen["after"]) == (1, 0)
    assert seen["chosen"]["rows"] == seen["chosen"]["front-0"] == [seen["number"]]


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
      const box = place("front-0").querySelector(".nsewdrag").getBoundingClientRect();
      const at = (x, y) => [box.left + x * box.width, box.top + y * box.height];
      press("front-0", [at(0.01, 0.01), at(0.2, 0.5), at(0.5, 0.99)]);
      setTimeout(() => { window.seen = now(); }, 250);"""
    _, troubles, seen = watch(page, tmp_path, HELPERS + act, "--window-size=1280,900")
    assert troubles == []
    assert seen["line"].endswith("networks chosen")
    rays = json.loads((page.parent / "result.json").read_text(encoding="utf-8"))["devices"][0]["rays"]
    chosen = seen["front-0"]
    assert 1 < len(chosen) < len({ray["architecture"] for ray in rays})
    assert seen["front-0-1"] == seen["front-0-2"] == seen["triangle-0"] == seen["lines"] == chosen


def test_the_mouse_on_a_point_chooses_its_network(page: Path, tmp_path: Path) -> None:
    act = """
      const mark = [...place("front-0-1").querySelectorAll(".scatterlayer .trace:last-child path.point")].at(-1);
      const box = mark.getBoundingClientRect();
      const at = [box.left + box.width / 2, box.top + box.height / 2];
      mouse("mousemove", at, place("front-0-1").querySelector(".nsewdrag"));
      setTimeout(() => press("front-0-1", [at]), 100);
      setTimeout(() => { window.seen = now(); }, 250);"""
    _, troubles, seen = watch(page, tmp_path, HELPERS + act, "--window-size=1280,900")
    assert troubles == []
    assert seen["line"] == "1 network chosen"
    assert seen["front-0"] == seen["front-0-1"] == seen["triangle-0"] == seen["lines"] == seen["rows"]


@pytest.mark.parametrize("width", ["1280", "1920"])
def test_nothing_is_wider_than_its_window(page: Path, tmp_path: Path, width: str) -> None:
    act = "window.seen = [document.documentElement.scrollWidth, document.documentElement.clientWidth];"
    _, troubles, (content, window) = watch(page, tmp_path, act, f"--window-size={width},900", "--hide-scrollbars")
    assert troubles == []
    assert content <= window == int(width)


def test_nothing_is_wider_than_a_telephone(page: Path, tmp_path: Path) -> None:
    assert phone_width(page, tmp_path) <= 400


@pytest.mark.parametrize("costs", [FOUR, WITH_PARAMETERS], ids=["four", "parameters"])
def test_other_objectives_are_drawn_too(tmp_path: Path, costs: tuple[str, ...]) -> None:
    path = make(tmp_path / "run", costs)
    act = f"{HELPERS} window.seen = [...panel.querySelectorAll('.plot')].map((p) => p.dataset.figure);"
    _, troubles, seen = watch(path, tmp_path, act)
    assert troubles == []
    wanted = [f"front-0-{pair}" if pair else "front-0" for pair in range(6 if costs == FOUR else 3)]
    wanted += ["parallel-0", "predictor-0-0", "predictor-0-1"] if costs == FOUR else []
    wanted += ["triangle-0", "parallel-0", "predictor-0-0"] if costs == WITH_PARAMETERS else []
    assert seen == wanted
