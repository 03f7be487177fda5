"""The page and the plots of a run: whole, self-contained, safe with hostile names, clear about bad files."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from report.make_run import make_history, make_predictor, make_result, write_run, write_whole_run
from report.reading import HOSTILE, Page, check_loads_nothing, read_page, read_png

import modnas_fast.report
from modnas_fast.report import write_report
from modnas_fast.report.canvas import small_multiples
from modnas_fast.report.marks import preference_colour
from modnas_fast.report.run import plots
from modnas_fast.report.run.contents import MOST_DEVICES, read_run
from modnas_fast.report.run.page import page_html
from modnas_fast.runtime.errors import InputError

PLOTS = ("cells.png", "fronts.png", "hypervolume.png", "mgd_weights.png", "predictor.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_whole_run(tmp_path_factory.mktemp("report") / "run")
    assert write_report(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return read_page(run / "report.html")


def test_public_names() -> None:
    assert modnas_fast.report.__all__ == ["write_figures", "write_report", "write_reproduction"]


def test_the_page_loads_nothing(run: Path) -> None:
    check_loads_nothing(run / "report.html")


def test_every_figure_has_its_place_and_every_place_its_figure(page: Page) -> None:
    expected = {f"front-{i}" for i in range(5)} | {f"predictor-{i}-0" for i in range(5)}
    expected |= {"hypervolume", "mgd-weights", "task-loss", "cost-0", "gradient-cosine", "predictor-all-0"}
    assert sorted(page.places()) == sorted(expected)
    assert set(page.figures) == expected


def test_axes_carry_their_units(page: Page) -> None:
    for name, figure in page.figures.items():
        titles = [figure["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")]
        assert all(titles), name
        if name.startswith(("front", "predictor")):
            assert all(re.search(r"\((ms|%)\)$", title) for title in titles), titles


def test_a_device_has_one_colour_in_every_figure(page: Page) -> None:
    colours: dict[int, set[str]] = {}
    for name in ("hypervolume", "mgd-weights", "task-loss", "cost-0", "predictor-all-0"):
        for trace in page.figures[name]["data"]:
            if "meta" in trace:
                colour = trace.get("fillcolor") or trace["marker"]["color"]
                colours.setdefault(trace["meta"], set()).add(colour)
    assert sorted(colours) == [0, 1, 2, 3, 4]
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 5


def test_front_figures_hold_the_numbers_of_the_result(page: Page) -> None:
    device = make_result()["devices"][0]
    random, front, rays, tie, measured = page.figures["front-0"]["data"]
    assert front["line"]["shape"] == "hv"
    assert front["x"] == [point["latency_ms"] for point in device["front"]]
    assert rays["y"] == [ray["error"] for ray in device["rays"]]
    assert rays["marker"]["color"] == [preference_colour(ray["preference"]) for ray in device["rays"]]
    assert len(random["x"]) == 24
    checked = [point for point in device["front"] if "measured" in point]
    assert measured["x"] == [point["measured"]["latency_ms"] for point in checked]
    assert measured["y"] == [point["test"]["error"] for point in checked]
    assert tie["x"][:3] == [checked[0]["latency_ms"], checked[0]["measured"]["latency_ms"], None]


def test_the_page_says_what_matters(page: Page) -> None:
    for text in ("digits, 10 classes, 1×8×8", "15,625 architectures", "Example CPU at 2.5 GHz", "3 min 51 s"):
        assert text in page.text
    device = make_result()["devices"][0]
    assert f"{device['hypervolume']:.3f}" in page.text
    network = make_result()["verified"][0]["costs"][device["name"]]["latency_ms"]
    error = (network["predicted"] - network["measured"]) / network["measured"]
    assert f"{100 * error:+.0f} %".replace("-", "−") in page.text
    assert '"scheme": "mgd"' in page.text


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_pictures_with_many_colours(run: Path, name: str) -> None:
    width, height, pixels = read_png(run / "plots" / name)
    assert width >= 600
    assert height >= 300
    assert len({pixels[i : i + 4] for i in range(0, len(pixels), 4)}) > 50


def test_regions_are_bands_behind_the_points_and_counted(tmp_path: Path) -> None:
    result = make_result()
    first = result["devices"][0]
    low, high = (sorted(point["latency_ms"] for point in first["front"])[k] for k in (0, -1))
    first["regions"] = [{"within": {"latency_ms": [low, high], "error": [None, 30.0]}, "weights": {}}]
    first |= {"region_networks": 3, "monotone": 0.975, "covered": 0.8, "covered_front": 0.9}
    run = write_run(tmp_path / "run", result)
    write_report(run)
    page = read_page(run / "report.html")
    (band,) = page.figures["front-0"]["layout"]["shapes"]
    assert (band["x0"], band["x1"], band["yref"]) == (low, high, "paper")
    assert "shapes" not in page.figures["front-1"]["layout"]
    for heading in ("Networks in regions", "More weight, no worse", "Front covered", "Covered, with all evaluated"):
        assert heading in page.text
    assert "97.5 %" in page.text
    width, _, pixels = read_png(run / "plots" / "fronts.png")
    assert width >= 600 and len({pixels[i : i + 4] for i in range(0, len(pixels), 4)}) > 50


def test_no_part_of_a_file_is_left(run: Path) -> None:
    assert sorted(p.name for p in run.iterdir()) == [
        "drawings.json", "history.json", "plots", "predictor.json", "report.html", "result.json",
    ]  # fmt: skip
    assert sorted(p.name for p in (run / "plots").iterdir()) == sorted(PLOTS)


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert page_html(read_run(run)) == (run / "report.html").read_text(encoding="utf-8")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = (HOSTILE, "_hidden", "gpu $x^$ 1")
    parts = make_result(names, (HOSTILE + "2",)), make_history(names, (HOSTILE + "2",)), make_predictor(names)
    result = parts[0]
    result["task"] |= {"name": HOSTILE, "notes": [HOSTILE, "\u2028 line"]}
    result["space"]["name"] = HOSTILE
    result["machine"]["cpu"] = HOSTILE
    result["objectives"][0] = {"name": HOSTILE, "unit": HOSTILE, "key": "error"}
    result["seconds"][HOSTILE] = 1.0
    result["configuration"][HOSTILE] = HOSTILE
    result["devices"][0]["hypervolume_bounds"][HOSTILE] = [0.0, 1.0]
    result["devices"][0]["front"][0]["architecture"] = HOSTILE
    result["verified"][0]["architecture"] = HOSTILE
    run = write_run(tmp_path / "run", *parts)
    write_report(run)
    page = read_page(run / "report.html")
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) > 10
    hover = page.figures["hypervolume"]["data"][0]["name"]
    assert "<" not in hover


def test_how_often_bounds_hold_is_told(tmp_path: Path) -> None:
    predictor = make_predictor()
    first, second, *_ = predictor["devices"].values()
    for device in predictor["devices"].values():
        device["costs"]["latency_ms"]["coverage"] = {
            level: {"held_out": None, "chosen": None} for level in ("0.8", "0.9")
        }
    first["costs"]["latency_ms"]["coverage"]["0.8"] = {"held_out": 0.8125, "chosen": [4, 5]}
    second["costs"]["latency_ms"]["coverage"]["0.9"] = {"held_out": 0.9375, "chosen": None}
    page, count = (
        page_html(read_run(write_run(tmp_path / "run", make_result(), None, predictor))),
        len(predictor["devices"]),
    )
    assert "80 %, held-out" in page and "81.2 %" in page and "4 of 5" in page and "93.8 %" in page
    assert f"how often bounds hold: {count - 2} of {count} devices" in page
    older = page_html(read_run(write_run(tmp_path / "older", make_result(), None, make_predictor())))
    assert "80 %, held-out" not in older and "how often bounds hold" not in older


def test_history_and_predictor_may_be_absent(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_result())
    (run / "plots").mkdir()
    (run / "plots" / "predictor.png").write_bytes(b"from an older report")
    write_report(run)
    page = read_page(run / "report.html")
    assert "This run has no history.json" in page.text
    assert "This run has no predictor.json" in page.text
    assert sorted(page.places()) == [f"front-{i}" for i in range(5)]
    assert sorted(p.name for p in (run / "plots").iterdir()) == ["cells.png", "fronts.png"]


def test_a_device_may_lack_front_random_and_figures_of_merit(tmp_path: Path) -> None:
    result = make_result(("only",), ())
    device = result["devices"][0]
    device |= {"front": [], "random": [], "rays": device["rays"][:1], "hypervolume": None, "predictor": {}}
    result |= {"verified": [], "seconds": {}}
    history = make_history(("only",), ())
    history["gradient_cosine"] = [None] * len(history["step"])
    history["hypervolume"] = {"step": [0], "devices": ["only"], "values": [[None]]}
    run = write_run(tmp_path / "run", result, history, make_predictor(("only",), ()))
    write_report(run)
    page = read_page(run / "report.html")
    assert "No ray of this device gave a non-dominated network." in page.text
    assert "No network of this run was trained and measured" in page.text
    assert "gradient-cosine" not in page.figures
    assert not (run / "plots" / "cells.png").exists()


def test_empty_logs_and_strange_devices_in_them(tmp_path: Path) -> None:
    history = {"devices": [], "step": []}
    predictor = {"devices": {"elsewhere": make_predictor()["devices"]["cpu_threads1_batch1_float32"]}}
    run = write_run(tmp_path / "run", make_result(), history, predictor)
    write_report(run)
    page = read_page(run / "report.html")
    assert "history.json holds no logged steps." in page.text
    assert "predictor.json holds none of this run's devices." in page.text


def test_a_device_without_any_network(tmp_path: Path) -> None:
    result = make_result()
    result["devices"][1] |= {"rays": [], "front": [], "random": []}
    run = write_run(tmp_path / "run", result)
    write_report(run)
    assert len(read_page(run / "report.html").figures["front-1"]["data"]) == 3


def test_other_spaces_are_shown_as_text(tmp_path: Path) -> None:
    result = make_result(("gpu",), ())
    result["space"] = {"name": "hat"}
    run = write_run(tmp_path / "run", result)
    write_report(run)
    assert not [tag for tag, a in read_page(run / "report.html").elements if a.get("class") == "cell"]
    assert (run / "plots" / "cells.png").exists()


def test_what_a_trained_network_writes_is_shown_as_text(tmp_path: Path) -> None:
    result = make_result()
    result["verified"][1]["sample"] = {"prompt": "if a <b>", "continuation": " &amp; c:\n  <script>x", "seed": 5}
    run = write_run(tmp_path / "run", result)
    write_report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    shown = '<span class="prompt">if a &lt;b&gt;</span> &amp;amp; c:\n  &lt;script&gt;x</blockquote>'
    assert text.count("<blockquote tabindex") == 1 and shown in text and "seed 5</figcaption>" in text


def test_a_damaged_drawing_is_told(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run")
    content = (run / "drawings.json").read_text(encoding="utf-8")
    (run / "drawings.json").write_text(content[:-20], encoding="utf-8")
    with pytest.raises(InputError, match="drawings.json is not whole JSON"):
        write_report(run)


def test_thirty_devices(tmp_path: Path) -> None:
    search = tuple(f"device_with_a_long_name_{i}_batch256" for i in range(19))
    unseen = tuple(f"unseen_{i}" for i in range(11))
    parts = make_result(search, unseen), make_history(search, unseen), make_predictor(search, unseen)
    run = write_run(tmp_path / "run", *parts)
    (run / "report.html").write_text(page_html(read_run(run)), encoding="utf-8")  # without the pictures
    page = read_page(run / "report.html")
    assert [tag for tag, _ in page.elements].count("option") == 30
    drawn = [t for t in page.figures["hypervolume"]["data"] if t["mode"] == "lines+markers"]
    looks = {(t["marker"]["color"], t["marker"]["symbol"], t["line"]["dash"]) for t in drawn}
    assert len(looks) == 30


def test_of_hundreds_of_devices_figures_show_the_worst_and_the_table_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = tuple(f"device_{i}" for i in range(60))
    result = make_result(search, ())
    for place, device in enumerate(result["devices"]):
        device["hypervolume"] = 0.5 + 0.001 * ((7 * place) % 60)
    run = write_run(tmp_path / "run", result, make_history(search, ()), make_predictor(search, ()))
    drawn: list[tuple[str, list[str]]] = []

    def multiples(title: str, panels: list[tuple[str, bool, dict[str, object]]]) -> Any:
        drawn.append((title, [head.partition("\n")[0] for head, *_ in panels]))
        return small_multiples(title, panels[:1])

    monkeypatch.setattr(plots, "small_multiples", multiples)
    write_report(run)
    worst = [f"device_{i}" for i in range(60) if (7 * i) % 60 < MOST_DEVICES]
    assert drawn and all(names == worst for _, names in drawn)
    assert all(title.endswith("of 60 devices the 36 with the least hypervolume") for title, _ in drawn)
    width, _, _ = read_png(run / "plots" / "hypervolume.png")
    assert width < 150 * 24
    page = read_page(run / "report.html")
    assert [tag for tag, _ in page.elements].count("option") == MOST_DEVICES
    assert sum(name.startswith("front-") for name in page.figures) == MOST_DEVICES
    drawn_names = {t["name"] for t in page.figures["hypervolume"]["data"] if t["mode"] == "lines+markers"}
    assert drawn_names == set(worst)
    listed = [attributes["data-name"] for tag, attributes in page.elements if "data-name" in attributes]
    assert listed == sorted(search, key=lambda name: (7 * int(name[7:])) % 60)
    assert "The table has all 60 devices" in page.text and any(a.get("id") == "filter" for _, a in page.elements)


def broken(tmp_path: Path, name: str, text: str | bytes) -> str:
    run = write_whole_run(tmp_path / "run")
    (run / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        write_report(run)
    assert not (run / "report.html").exists()
    assert str(run / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"result\.json does not exist: .*--resume") as caught:
        write_report(tmp_path / "absent")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["result.json", "history.json", "predictor.json"])
@pytest.mark.parametrize("text", [b"", b'{"schema": 1, "dev', b"\xff\xfe{}"])
def test_a_file_cut_short(tmp_path: Path, name: str, text: bytes) -> None:
    assert re.search("repeat the search$", broken(tmp_path, name, text))


def test_another_schema_version(tmp_path: Path) -> None:
    message = broken(tmp_path, "result.json", json.dumps(make_result() | {"schema": 1}))
    assert message.endswith(
        "result.json has schema 1, this version reads 2: make the run again, or ask it with the version that made it "
        "(modnas-fast 0.1.0)"
    )


def test_no_schema_version(tmp_path: Path) -> None:
    message = broken(tmp_path, "result.json", "{}")
    assert "has schema (none), this version reads 2" in message


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"devices": []}, "devices"),
        ({"devices": [{"name": "gpu"}]}, "devices.0.split"),
        ({"devices": make_result()["devices"][:1] * 2}, "two devices share one name"),
        ({"task": "digits"}, "task"),
        ({"objectives": []}, "objectives"),
    ],
)
def test_a_result_that_lacks_something(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    assert where in broken(tmp_path, "result.json", json.dumps(make_result() | change))


def test_not_a_number(tmp_path: Path) -> None:
    result = make_result()
    result["devices"][0]["rays"][0]["error"] = float("nan")
    assert "devices.0.rays.0.error" in broken(tmp_path, "result.json", json.dumps(result))


@pytest.mark.parametrize("name", ["mgd_weights", "task_loss", "gradient_cosine"])
def test_a_history_with_too_few_rows(tmp_path: Path, name: str) -> None:
    history = make_history()
    history[name].pop()
    assert name in broken(tmp_path, "history.json", json.dumps(history))


def test_a_predictor_with_unequal_columns(tmp_path: Path) -> None:
    predictor = make_predictor()
    predictor["devices"]["cpu_threads1_batch1_float32"]["costs"]["latency_ms"]["measured"].pop()
    assert "24 predicted but 23 measured" in broken(tmp_path, "predictor.json", json.dumps(predictor))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run")
    (run / "plots").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(run)


def test_measurements_that_are_not_trustworthy_are_marked_with_the_reason(tmp_path: Path) -> None:
    result = make_result()
    assert (
        "trustworthy" not in (page := page_html(read_run(write_run(tmp_path / "trusted", result)))) and "⚠" not in page
    )
    name = result["devices"][1]["name"]
    result["devices"][1]["trust"] = {"latency_ms": {"trustworthy": False, "why": "9 of <20> rounds disturbed"}}
    page = page_html(read_run(write_run(tmp_path / "doubtful", result)))
    assert f"⚠ Not trustworthy: measurements on {name} (9 of &lt;20&gt; rounds disturbed)." in page
    why = "not trustworthy: 9 of &lt;20&gt; rounds disturbed"
    beside = page.count(f'<span class="doubt" title="{why}">⚠<span class="sr">{why}</span></span>')
    assert beside >= 2 and page.count("⚠") == beside + 2  # in the table and the device's own part; a note and a tile


def tiles(page: Page) -> list[str]:
    """The classes of the tiles that stand out, in their order."""
    kinds = [(attributes.get("class") or "").split() for tag, attributes in page.elements if tag == "li"]
    return [kind[-1] for kind in kinds if kind[:1] == ["tile"] and kind[-1] in ("warn", "alarm")]


def test_numbers_that_alarm_stand_out_and_say_what_to_do(tmp_path: Path) -> None:
    assert tiles(Page(page_html(read_run(write_run(tmp_path / "calm", make_result()))))) == []
    result = make_result()
    first, second, *_ = result["devices"]
    for device in result["devices"]:
        device["hypervolume"] = device["hypervolume_random"] - 0.01
    first["noise"]["latency_ms"] = 0.07
    second["predictor"]["latency_ms"]["spearman"] = 0.6
    first["trust"] = {"latency_ms": {"trustworthy": False, "why": "9 of 20 rounds disturbed"}}
    for network in result["verified"]:
        for costs in network["costs"].values():
            costs["latency_ms"]["predicted"] = 1.2 * costs["latency_ms"]["measured"]
    page = Page(page_html(read_run(write_run(tmp_path / "run", result))))
    assert tiles(page) == ["alarm", "alarm", "warn", "warn", "alarm", "warn"]
    for text in (
        "Random networks do as well", "1 of 5", "Choose by measured costs",
        f"on {first['name']}, the noisiest", "Search again while", f"{second['name']} 0.600: Measure what",
    ):  # fmt: skip
        assert text in page.text
    for device in result["devices"]:
        device["hypervolume"] = device["hypervolume_random"] = 0.0
    page = Page(page_html(read_run(write_run(tmp_path / "nothing", result))))
    assert tiles(page)[:2] == ["alarm", "alarm"], "nobody found anything"


def test_words_of_the_summary_are_explained(page: Page) -> None:
    for word in ("Hypervolume", "Noise", "Spearman", "Rays", "Split"):
        assert re.search(rf"{word}[A-Z][^|]*\.", page.text)


def test_every_figure_is_told_in_words_and_as_a_table(page: Page) -> None:
    ids = {attributes.get("id") for _, attributes in page.elements}
    places = [attributes for _, attributes in page.elements if "data-figure" in attributes]
    assert places and all(place["aria-describedby"] in ids for place in places)
    groups = [a["aria-label"] for _, a in page.elements if a.get("role") == "group" and "tabindex" in a]
    assert sum(": " in str(label) for label in groups) == len(places)
    device = make_result()["devices"][0]
    low, high = (f(point["latency_ms"] for point in device["random"]) for f in (min, max))
    assert f"random search (predicted): 24 points, latency (ms) {low:.3g} to {high:.3g}, error (%)" in page.text
    first, last = (make_history()["hypervolume"]["values"][step][0] for step in (0, -1))
    assert "lines of hypervolume (of 1)" in page.text or f"from {first:.3f} to {last:.3f}" in page.text


def test_dark_colours_are_for_screens_alone(run: Path) -> None:
    asked = re.findall(r"@media ([^{]*prefers-color-scheme[^{]*) {", (run / "report.html").read_text(encoding="utf-8"))
    assert asked[0] == "screen and (prefers-color-scheme: dark)" and not [each for each in asked if "print" in each]


def test_headings_go_down_one_by_one_and_the_first_link_skips_to_the_content(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    link = next(attributes for tag, attributes in page.elements if tag == "a")
    assert link["href"] == "#main" and ("main", {"id": "main", "tabindex": "-1"}) in page.elements
