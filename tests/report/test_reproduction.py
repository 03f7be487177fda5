"""The page and the plots of a reproduction: whole, self-contained, true to its file, clear about what lacks."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from report.make_reproduction import make_reproduction, write_reproduction_json
from report.reading import HOSTILE, Page, check_loads_nothing, read_page, read_png

from modnas_fast.report import write_reproduction
from modnas_fast.report.reproduction.contents import Reproduction, read_reproduction
from modnas_fast.report.reproduction.numbers import mean_curve, targets, worst_device
from modnas_fast.report.reproduction.page import reproduction_html
from modnas_fast.runtime.errors import InputError

PLOTS = ("ablations.png", "curves.png", "dots.png", "fronts.png", "radar.png", "supernet.png", "three_objectives.png")
CURVES = {f"curve-{axis}-{split}" for axis in ("seconds", "evaluations") for split in ("search", "unseen")}
FIGURES = {"radar", "dots", "ablations", "cosines", "supernet", *CURVES}
FIGURES |= {f"front-{i}" for i in range(5)} | {f"space-{i}" for i in range(3)}


def small() -> dict[str, Any]:
    return make_reproduction(("1080ti_1", "pixel3", "gold_6240"), ("raspi4", "eyeriss"), seeds=2)


def page_of(content: dict[str, Any]) -> Page:
    page = Page(reproduction_html(Reproduction.model_validate_json(json.dumps(content))))
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_reproduction_json(tmp_path_factory.mktemp("reproduction") / "run", small())
    assert write_reproduction(folder) == folder / "reproduction.html"
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return read_page(folder / "reproduction.html")


def test_the_page_loads_nothing(folder: Path) -> None:
    check_loads_nothing(folder / "reproduction.html")


def test_every_figure_has_its_place_and_every_place_its_figure(page: Page) -> None:
    assert sorted(page.places()) == sorted(FIGURES)
    assert set(page.figures) == FIGURES


def test_every_link_of_the_bar_has_its_part(page: Page) -> None:
    links = [a["href"] for tag, a in page.elements if tag == "a"]
    anchors = ["#" + a["id"] for tag, a in page.elements if tag == "section"]
    assert links == ["#main", *anchors]
    assert len(links) == 12


def test_every_part_has_its_table(page: Page) -> None:
    captions = [a["aria-label"] for _, a in page.elements if a.get("role") == "region"]
    assert len(captions) == 8
    assert [tag for tag, _ in page.elements].count("table") == 8 + len(FIGURES), "and one in the place of each figure"


def test_axes_carry_their_units(page: Page) -> None:
    for name, figure in page.figures.items():
        if name.startswith(("radar", "space")):
            continue
        titles = [figure["layout"][axis].get("title", {}).get("text") for axis in ("xaxis", "yaxis")]
        wanted = {
            "front": ["latency (ms)", "error (%)"], "supernet": ["true error (%)", "inherited error (%)"],
            "ablations": ["missing hypervolume (%)", None], "cosines": ["mean cosine", None],
            "dots": ["hypervolume ratio", None],
            "curve-seconds": ["search time (s)", "hypervolume ratio"],
            "curve-evaluations": ["true evaluations, all devices together", "hypervolume ratio"],
        }  # fmt: skip
        assert titles == next(text for start, text in wanted.items() if name.startswith(start)), name


def test_a_method_looks_the_same_in_every_figure(page: Page) -> None:
    looks: dict[int, set[tuple[str, str]]] = {}
    for name in ("radar", "dots", "front-0", *CURVES):
        for trace in page.figures[name]["data"]:
            if "meta" in trace:
                looks.setdefault(trace["meta"], set()).add((trace["marker"]["color"], trace["marker"]["symbol"]))
    assert sorted(looks) == list(range(6))
    assert all(len(found) == 1 for found in looks.values())
    every = set.union(*looks.values())
    assert len({colour for colour, _ in every}) == len({symbol for _, symbol in every}) == 6


def test_the_headline_shows_means_over_devices_and_seeds(page: Page) -> None:
    content = small()
    runs = content["methods"][0]["runs"]
    for split in ("search", "unseen"):
        names = [device["name"] for device in content["devices"] if device["split"] == split]
        ratios = [statistics.fmean(run["devices"][name]["ratio"] for name in names) for run in runs]
        assert f"{statistics.fmean(ratios):.4f}± {statistics.stdev(ratios):.4f} over 2 seeds" in page.text
    for text in ("Example CPU at 2.5 GHz, 2 cores", "modnas-fast reproduce nb201 --seeds 3", "41 min 52 s"):
        assert text in page.text


def test_targets_are_marked_from_the_exact_numbers() -> None:
    content = small()
    for run in content["methods"][0]["runs"]:
        for device in content["devices"]:
            score = run["devices"][device["name"]]
            score |= {"ratio": 0.985 if device["split"] == "search" else 0.97996, "networks": 10}
    found = targets(Reproduction.model_validate(content))
    assert [target.met for target in found] == [True, False, True, True]
    page = page_of(content)
    assert re.findall("[✓✗] [a-z]+", page.text) == ["✓ met", "✗ missed", "✓ met", "✓ met"]
    content["methods"][0]["runs"] = []
    assert [target.met for target in targets(Reproduction.model_validate(content))] == [None] * 4
    assert page_of(content).text.count("not measured") == 4


def test_the_best_ratio_of_each_device_is_marked(page: Page) -> None:
    best = [a for tag, a in page.elements if tag == "b" and a.get("class") == "best"]
    assert len(best) == 5 + 2, "one per device, and one per split of the table of means"
    content = small()
    content["methods"] = content["methods"][:1]
    assert not [a for _, a in page_of(content).elements if a.get("class") == "best"], "one method is no contest"


def test_fronts_are_shown_in_units_over_the_exact_front(page: Page) -> None:
    content = small()
    device = content["devices"][0]
    exact, *others = page.figures["front-0"]["data"]
    assert exact["line"]["shape"] == "hv"
    assert exact["x"] == sorted(exact["x"])
    assert exact["y"] == sorted(exact["y"], reverse=True)
    assert (exact["x"][-1], exact["y"][-1]) == pytest.approx((device["cost_range"][1], 5.63), rel=1e-4)
    ours = next(trace for trace in others if trace["meta"] == 0)
    low, high = device["cost_range"]
    front = content["methods"][0]["runs"][0]["devices"]["1080ti_1"]["front"]
    assert sorted(ours["x"]) == pytest.approx(sorted(low + x * (high - low) for _, x in front), rel=1e-4)
    del content["devices"][0]["quality_range"]
    layout = page_of(content).figures["front-0"]["layout"]
    assert layout["xaxis"]["title"]["text"] == "latency (normalised)"


def test_bars_show_what_is_missing(page: Page) -> None:
    search, unseen = page.figures["ablations"]["data"]
    ratios = [run["ratio"]["search"] for run in small()["ablations"][0]["runs"]]
    assert search["x"][0] == pytest.approx(100 * (1 - statistics.fmean(ratios)), abs=1e-3)
    assert search["error_x"]["array"][0] == pytest.approx(100 * statistics.stdev(ratios), abs=1e-3)
    assert unseen["x"][0] > search["x"][0]
    assert search["y"][:2] == ["Φ update:<br>mgd ★", "Φ update:<br>mean"]
    assert page.figures["cosines"]["data"][0]["y"] == search["y"]


def test_the_worst_device_of_a_split_is_named(page: Page) -> None:
    content = small()
    for run in content["splits"][1]["runs"]:
        run["devices"]["pixel3"]["ratio"] = 0.5
    split = Reproduction.model_validate(content).splits[1]
    assert worst_device(split.runs, [*split.search, *split.unseen]) == ("pixel3", 0.5)
    assert "0.5000pixel3" in page_of(content).text
    assert "0.5000pixel3" not in page.text


def test_a_curve_is_the_mean_of_what_each_seed_had_reached() -> None:
    content = small()["methods"][0]
    first, second = content["runs"]
    first["curve"] = [{"seconds": s, "ratio": {"search": r}} for s, r in ((0.0, 0.1), (1.0, 0.6), (100.0, 0.8))]
    second["curve"] = [{"seconds": s, "ratio": {"search": r}} for s, r in ((10.0, 0.9), (None, 0.2))]
    runs = Reproduction.model_validate({"schema": 1, "methods": [content]}).methods[0].runs
    steps = mean_curve(runs, "seconds", "search")
    assert [step.x for step in steps] == [10.0, 100.0]
    assert [step.mean for step in steps] == pytest.approx([0.8, 0.85])
    assert [(step.low, step.high) for step in steps] == [pytest.approx((0.7, 0.9)), pytest.approx((0.8, 0.9))]
    assert mean_curve(runs, "seconds", "unseen") == []


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_pictures_with_many_colours(folder: Path, name: str) -> None:
    width, height, pixels = read_png(folder / "plots" / name)
    assert width >= 600
    assert height >= 300
    assert len({pixels[i : i + 4] for i in range(0, len(pixels), 4)}) > 50


def test_no_part_of_a_file_is_left(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["plots", "reproduction.html", "reproduction.json"]
    assert sorted(p.name for p in (folder / "plots").iterdir()) == sorted(PLOTS)


def test_the_same_file_gives_the_same_page(folder: Path) -> None:
    page = reproduction_html(read_reproduction(folder))
    assert page == (folder / "reproduction.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said", "gone"),
    [
        ({"methods": []}, "The file holds no method", {"radar", "dots", *CURVES}),
        ({"devices": []}, "there are no fronts", {"radar", "dots", *(f"front-{i}" for i in range(5))}),
        ({"predictor": None}, "The predictor's quality was not computed.", set()),
        ({"ablations": []}, "No ablations were run.", {"ablations", "cosines"}),
        ({"transfer": []}, "No other task was searched.", set()),
        ({"splits": []}, "No other split of the devices was searched.", set()),
        ({"three_objectives": None}, "No search with three objectives", {f"space-{i}" for i in range(3)}),
        ({"supernet": None}, "No supernet was trained", {"supernet"}),
    ],
)
def test_a_part_that_is_left_out_is_said(change: dict[str, Any], said: str, gone: set[str]) -> None:
    page = page_of(small() | change)
    assert said in page.text
    assert set(page.figures) == FIGURES - gone
    assert set(page.places()) == FIGURES - gone


def test_runs_may_lack_curves_fronts_and_figures_of_merit() -> None:
    content = small()
    for method in content["methods"]:
        for run in method["runs"]:
            run["curve"] = []
            run["devices"].pop("raspi4")
            run["devices"]["pixel3"] |= {"ratio": None, "hypervolume": None, "front": []}
    for ablation in content["ablations"]:
        for run in ablation["runs"]:
            run["gradient_cosine"] = None
    page = page_of(content)
    assert "No method logged its ratio while it searched." in page.text
    assert set(page.figures) == FIGURES - CURVES - {"cosines"}
    assert page.figures["radar"]["data"][0]["r"][1] is None


def test_an_empty_file_gives_a_page_without_figures_and_plots(tmp_path: Path) -> None:
    folder = write_reproduction_json(tmp_path / "run", {"schema": 1})
    (folder / "plots").mkdir()
    (folder / "plots" / "radar.png").write_bytes(b"from an older file")
    page = read_page(write_reproduction(folder))
    assert page.figures == {}
    assert [a.get("class") for tag, a in page.elements].count("note") == 11, "one per part, one for JavaScript"
    assert list((folder / "plots").iterdir()) == []


def test_nineteen_devices_and_three_seeds_stay_small() -> None:
    text = reproduction_html(Reproduction.model_validate(make_reproduction()))
    assert len(text.encode()) < 8e6


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    content = make_reproduction((HOSTILE, "_hidden"), ("gpu $x^$ 1",), seeds=1)
    content |= {"task": HOSTILE, "command": HOSTILE, "notes": [HOSTILE]}
    content["methods"][0] |= {"label": HOSTILE, "evaluations_note": HOSTILE}
    content["ablations"][0] |= {"factor": HOSTILE, "value": HOSTILE}
    content["transfer"][0]["task"] = HOSTILE
    content["supernet"]["setting"] = HOSTILE
    three = content["three_objectives"]
    three["devices"], three["objectives"] = [HOSTILE], [HOSTILE, "latency", "energy"]
    page = read_page(write_reproduction(write_reproduction_json(tmp_path / "run", content)))
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) > 10
    assert "<img" not in json.dumps(page.figures)


def broken(tmp_path: Path, text: str | bytes) -> str:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "reproduction.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        write_reproduction(tmp_path)
    assert not (tmp_path / "reproduction.html").exists()
    assert str(tmp_path / "reproduction.json") in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist: make it with `modnas-fast reproduce`"):
        write_reproduction(tmp_path)


@pytest.mark.parametrize("text", [b"", b'{"schema": 1, "dev', b"\xff\xfe{}"])
def test_a_file_cut_short(tmp_path: Path, text: bytes) -> None:
    assert broken(tmp_path, text).endswith("repeat the reproduction")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"schema": 2}, "has schema 2, this version reads 1"),
        ({"methods": small()["methods"][:1] * 2}, "two methods share one name"),
        ({"devices": small()["devices"][:1] * 2}, "two devices share one name"),
        ({"devices": [{"name": "gpu", "split": "both"}]}, "devices.0.split"),
        ({"devices": [{"name": "gpu", "split": "search", "exact_front": [[1.0]]}]}, "devices.0.exact_front.0"),
        ({"seconds": float("nan")}, "seconds"),
    ],
)
def test_a_file_with_something_wrong(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    assert where in broken(tmp_path, json.dumps({"schema": 1} | change))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = write_reproduction_json(tmp_path / "run", {"schema": 1})
    (folder / "reproduction.html").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_reproduction(folder)
