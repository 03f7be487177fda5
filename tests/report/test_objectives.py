"""The page and the plots of runs with other objectives than two: what every figure and table says of them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from report.make_run import (
    FOUR,
    THREE,
    TWO,
    WITH_PARAMETERS,
    make_history,
    make_predictor,
    make_result,
    tabulate,
    write_run,
    write_whole_run,
)
from report.reading import HOSTILE, Page, read_page, read_png

from modnas_fast.report import write_report
from modnas_fast.report.marks import FURTHER_COLOUR, preference_colour
from modnas_fast.runtime.errors import InputError

DEVICES = ("pi", "phone"), ("gpu",)
PLOTS = {"cells.png", "fronts.png", "fronts_2.png", "fronts_3.png", "hypervolume.png", "mgd_weights.png"}
PLOTS |= {"parallel.png", "predictor.png", "predictor_2.png", "triangle.png"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_whole_run(tmp_path_factory.mktemp("three") / "run", *DEVICES, costs=THREE)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return read_page(run / "report.html")


def page_of(folder: Path, result: dict[str, Any], *others: Any) -> Page:
    write_report(write_run(folder / "run", result, *others))
    return read_page(folder / "run" / "report.html")


def heads(page: Page) -> str:
    """The titles of the columns of the table of the first device's front."""
    found = re.search(r"The front, least .*? first: \d+ networks\s*(Architecture.*?)\|", page.text, re.DOTALL)
    assert found
    return found.group(1).strip()


def test_every_figure_has_its_place_and_every_place_its_figure(page: Page) -> None:
    expected = {"hypervolume", "mgd-weights", "task-loss", "gradient-cosine"}
    for device in range(3):
        expected |= {f"front-{device}", f"front-{device}-1", f"front-{device}-2"}
        expected |= {f"parallel-{device}", f"triangle-{device}"}
    for cost in range(2):
        expected |= {f"cost-{cost}", f"predictor-all-{cost}", *(f"predictor-{device}-{cost}" for device in range(3))}
    assert sorted(page.places()) == sorted(expected)
    assert set(page.figures) == expected


def test_axes_carry_names_and_units_of_the_objectives(page: Page) -> None:
    def titles(name: str) -> list[str]:
        return [page.figures[name]["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")]

    assert titles("front-0") == ["latency (ms)", "error (%)"]
    assert titles("front-0-1") == ["energy (mJ)", "error (%)"]
    assert titles("front-0-2") == ["energy (mJ)", "latency (ms)"]
    assert titles("predictor-1-1") == ["measured (mJ)", "predicted (mJ)"]
    assert titles("cost-1") == ["search step", "energy (normalised)"]
    corners = page.figures["triangle-0"]["layout"]["ternary"]
    assert [corners[axis]["title"]["text"] for axis in ("aaxis", "baxis", "caxis")] == ["error", "latency", "energy"]


def test_every_figure_of_a_device_shows_the_same_networks(page: Page) -> None:
    device = make_result(*DEVICES, costs=THREE)["devices"][0]
    networks = list(dict.fromkeys(ray["architecture"] for ray in device["rays"]))
    numbers = [networks.index(ray["architecture"]) for ray in device["rays"]]
    for name in ("front-0", "front-0-1", "front-0-2"):
        _, front, rays, *_ = page.figures[name]["data"]
        assert rays["customdata"] == numbers
        assert front["y"] == sorted(front["y"], reverse=True)
        assert front["x"] == sorted(front["x"])
    assert page.figures["front-0-2"]["data"][2]["x"] == [ray["energy_mj"] for ray in device["rays"]]
    (triangle,) = page.figures["triangle-0"]["data"]
    assert triangle["customdata"] == numbers
    assert list(zip(*(triangle[key] for key in "abc"), strict=True)) == [tuple(r["preference"]) for r in device["rays"]]
    assert triangle["marker"]["color"] == [preference_colour(ray["preference"]) for ray in device["rays"]]
    lines = page.figures["parallel-0"]["data"]
    assert sorted(line["customdata"][0] for line in lines) == list(range(len(networks)))
    rows = [int(a["data-network"]) for tag, a in page.elements if tag == "tr" and "data-network" in a]
    front_numbers = [networks.index(point["architecture"]) for point in device["front"]]
    assert rows[: len(front_numbers)] == front_numbers


def test_parallel_coordinates_stand_where_the_values_are(page: Page) -> None:
    rays = make_result(*DEVICES, costs=THREE)["devices"][0]["rays"]
    networks = list(dict.fromkeys(ray["architecture"] for ray in rays))
    values = {ray["architecture"]: ray["latency_ms"] for ray in rays}
    low, high = min(values.values()), max(values.values())
    assert high >= 10 * low, "so the scale is logarithmic"
    for line in page.figures["parallel-0"]["data"]:
        latency = values[networks[line["customdata"][0]]]
        assert line["y"][1] == pytest.approx(math.log(latency / low) / math.log(high / low), abs=1e-4)
        assert all(0 <= y <= 1 for y in line["y"])
    notes = page.figures["parallel-0"]["layout"]["annotations"]
    assert [note["text"] for note in notes[2:4]] == [f"{low:.4f}", f"{high:.3f}"]


def test_verified_networks_are_tied_to_their_estimates_in_every_pair(page: Page) -> None:
    front = make_result(*DEVICES, costs=THREE)["devices"][0]["front"]
    checked = [point for point in front if "measured" in point]
    *_, measured = page.figures["front-0-2"]["data"]
    assert measured["x"] == [point["measured"]["energy_mj"] for point in checked]
    assert measured["y"] == [point["measured"]["latency_ms"] for point in checked]
    assert page.text.count("predicted → measured") == 4, "a table and its title for either cost"


def test_sources_have_symbols_and_columns_of_their_own(tmp_path: Path) -> None:
    result = tabulate(make_result(*DEVICES, costs=WITH_PARAMETERS), "latency_ms", every=2)
    result["verified"] = []
    page = page_of(tmp_path, result, None, make_predictor(*DEVICES, costs=WITH_PARAMETERS))
    device = result["devices"][0]
    groups = {t["name"]: t for t in page.figures["front-0"]["data"] if t.get("name", "").startswith("rays")}
    assert sorted(groups) == ["rays (predicted)", "rays (tabulated)"]
    assert len({trace["marker"]["symbol"] for trace in groups.values()}) == 2
    known = [ray["latency_ms"] for ray in device["rays"] if ray["sources"].get("latency_ms") == "tabulated"]
    assert 0 < len(known) < len(device["rays"])
    assert groups["rays (tabulated)"]["x"] == known
    exact = [trace.get("name", "") for trace in page.figures["front-0-1"]["data"]]
    assert "rays (exact)" in exact
    assert not [name for name in exact if "tabulated" in name]
    assert "Error (%), inherited" in heads(page)
    assert "Latency (ms)Measured" in heads(page), "mixed: every value of the column is marked instead"
    assert "Parameters, exact" in heads(page)
    point = device["front"][0]
    word = point["sources"].get("latency_ms", "predicted")
    assert f"{point['latency_ms']:.4f}{word}" in page.text
    assert "ray, costs tabulated" in page.text
    assert not [name for name in page.figures if name.startswith("predictor") and name.endswith("-1")]


def test_a_column_of_one_source_is_marked_in_its_title(tmp_path: Path) -> None:
    result = tabulate(make_result(*DEVICES, costs=TWO), "latency_ms")
    result |= {"quality_kind": "true", "verified": []}
    for device in result["devices"]:
        device["hypervolume_ratio"] = 0.99
        for point in device["front"]:
            point.pop("test", None), point.pop("measured", None)
    page = page_of(tmp_path, result)
    assert heads(page).endswith("Error (%), trueLatency (ms), tabulated")
    names = [trace.get("name") for trace in page.figures["front-0"]["data"]]
    assert names == ["random search (tabulated)", "front (tabulated)", "rays (tabulated)"]
    assert "Of the exact front99.0 %" in page.text
    assert "Every error of this run is that of a trained network" in page.text


def test_an_exact_cost_is_known_without_a_measurement(tmp_path: Path) -> None:
    result = make_result(*DEVICES, costs=WITH_PARAMETERS)
    page = page_of(tmp_path, result)
    *_, verified = page.figures["front-0-1"]["data"]
    checked = [point for point in result["devices"][0]["front"] if "test" in point]
    assert verified["x"] == [point["parameters"] for point in checked]
    assert verified["y"] == [point["test"]["error"] for point in checked]


def test_four_objectives_have_six_fronts_and_no_triangle(tmp_path: Path) -> None:
    make = (make_result, make_history, make_predictor)
    page = page_of(tmp_path, *(each(*DEVICES, costs=FOUR) for each in make))
    assert {f"front-2-{pair}" for pair in range(1, 6)} | {"front-2", "parallel-2"} <= set(page.figures)
    assert not [name for name in page.figures if name.startswith("triangle")]
    assert "fill no triangle" in page.text
    assert not (tmp_path / "run" / "plots" / "triangle.png").exists()
    assert (tmp_path / "run" / "plots" / "fronts_6.png").exists()


def test_any_names_and_units_will_do(tmp_path: Path) -> None:
    result = make_result(*DEVICES, costs=THREE)
    text = json.dumps(result)
    for old, new in (("latency_ms", "size_mib"), ("energy_mj", "price"), ("error", "perplexity")):
        text = text.replace(f'"{old}"', f'"{new}"')
    result = json.loads(text)
    result["objectives"] = [
        {"name": "perplexity", "unit": "", "key": "perplexity"},
        {"name": "size", "unit": "MiB", "key": "size_mib"},
        {"name": "price", "unit": "€", "key": "price"},
    ]
    result["task"] = {"name": "words", "notes": []}
    page = page_of(tmp_path, result)
    words = page.text.split("Protocol and configuration")[0].replace("relative error", "").replace("|error|", "")
    assert not re.search("latency|energy|error|images", words, re.IGNORECASE)
    assert "Measured size (MiB)" in page.text
    assert "Test perplexity" in page.text


def test_hostile_objectives_stay_text(tmp_path: Path) -> None:
    parts = [make(*DEVICES, costs=THREE) for make in (make_result, make_history, make_predictor)]
    for place, objective in enumerate(parts[0]["objectives"]):
        objective |= {"name": f"{HOSTILE}{place}", "unit": HOSTILE}
    page = page_of(tmp_path, *parts)
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "<img" not in json.dumps(page.figures)
    assert [tag for tag, _ in page.elements].count("script") == 3


def test_plots_are_pictures_with_many_colours(run: Path) -> None:
    assert {path.name for path in (run / "plots").iterdir()} == PLOTS
    for name in PLOTS:
        width, height, pixels = read_png(run / "plots" / name)
        assert min(width, height) >= 300
        assert len({pixels[i : i + 4] for i in range(0, len(pixels), 4)}) > 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda point: point.pop("energy_mj"), "devices.1.rays.2.energy_mj is None, wanted a finite number"),
        (lambda point: point.update(energy_mj="3"), "devices.1.rays.2.energy_mj is '3', wanted a finite number"),
        (lambda point: point.update(preference=[1, 0]), "devices.1.rays.2.preference has 2 weights for 3 objectives"),
        (lambda point: point["sources"].update(energy_mj="guessed"), "devices.1.rays.2.sources.energy_mj"),
    ],
)
def test_points_that_lack_something(tmp_path: Path, change: Any, message: str) -> None:
    result = make_result(*DEVICES, costs=THREE)
    change(result["devices"][1]["rays"][2])
    with pytest.raises(InputError) as caught:
        write_report(write_run(tmp_path / "run", result))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objectives_that_share_a_key_or_are_one(tmp_path: Path) -> None:
    for objectives, message in (([0, 1, 1], "two objectives share one name"), ([0], "objectives")):
        result = make_result(*DEVICES, costs=THREE)
        result["objectives"] = [result["objectives"][place] for place in objectives]
        with pytest.raises(InputError, match=message):
            write_report(write_run(tmp_path / "run", result))


@pytest.mark.parametrize("costs", [TWO, THREE])
def test_networks_that_no_ray_led_to_are_on_the_front_in_a_colour_of_their_own(
    tmp_path: Path, costs: tuple[str, ...]
) -> None:
    result = make_result(("pi",), (), costs=costs)
    (device,) = result["devices"]
    further = {key: value for key, value in device["random"][0].items() if key != "preference"}
    device["front"] = [*device["front"], further]
    device |= {"front_networks": len(device["front"]), "hypervolume_front": 0.9876}
    page = page_of(tmp_path, result)
    (trace,) = [t for t in page.figures["front-0"]["data"] if t.get("name") == "evaluated on the way (predicted)"]
    assert trace["x"] == pytest.approx([further["latency_ms"]], rel=1e-4)
    assert "<b>evaluated on the way</b>" in trace["text"][0] and trace["marker"]["color"] == FURTHER_COLOUR
    networks = list(dict.fromkeys(p["architecture"] for p in (*device["rays"], *device["front"])))
    assert trace["customdata"] == [networks.index(further["architecture"])]
    assert "evaluated on the way, no ray led there" in page.text and "0.988" in page.text
    if costs == THREE:
        lines = [line for line in page.figures["parallel-0"]["data"] if line["line"].get("color") == FURTHER_COLOUR]
        assert [line["customdata"][0] for line in lines] == trace["customdata"]
    assert "evaluated on the way" not in page_of(tmp_path / "none", make_result(("pi",), (), costs=costs)).text
