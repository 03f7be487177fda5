"""Figures for papers: text stays text, the same folder gives the same bytes, and symbols differ where colours do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_tables import make_benchmark
from report.make_reproduction import make_reproduction, write_reproduction_json
from report.make_run import SEARCH, THREE, UNSEEN, write_whole_run

from modnas_fast.baselines.contest import Contest
from modnas_fast.report import write_figures
from modnas_fast.report.paper.figures import paper_figures
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_json

AGAIN = "import sys; from modnas_fast.report import write_figures; write_figures(sys.argv[1], sys.argv[2])"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    write_whole_run(folder, SEARCH[:1], UNSEEN[:1])
    write_figures(folder)
    return folder


def test_a_run_has_fronts_and_its_way_there(run: Path) -> None:
    names = [f"front_{device}" for device in (SEARCH[0], UNSEEN[0])] + ["anytime_steps"]
    assert {file.name for file in (run / "figures").iterdir()} == {
        f"{n}.{kind}" for n in names for kind in ("svg", "pdf")
    }


def test_text_stays_text_in_a_column_s_width(run: Path) -> None:
    svg = (run / "figures" / f"front_{SEARCH[0]}.svg").read_text(encoding="utf-8")
    assert ">latency (ms)</text>" in svg and 'width="244.8pt"' in svg, "3.4 inches of 72 points"
    pdf = (run / "figures" / f"front_{SEARCH[0]}.pdf").read_bytes()
    assert b"/Type0" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf, "letters would be drawings"


def test_another_process_writes_the_same_bytes(run: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "5", "SOURCE_DATE_EPOCH": "0", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", AGAIN, run, tmp_path], check=True, env=environment, timeout=300)
    for file in (run / "figures").iterdir():
        content = file.read_bytes()
        assert content == (tmp_path / file.name).read_bytes(), file.name
        assert b"Date" not in content and b"<dc:date>" not in content


def test_curves_differ_without_colours(tmp_path: Path) -> None:
    write_whole_run(tmp_path, tuple(f"device {at:02d}" for at in range(12)), UNSEEN)
    traces = paper_figures(tmp_path)["anytime_steps"]["data"]
    looks = {(trace["marker"]["symbol"], trace["line"]["dash"]) for trace in traces}
    assert len(looks) == len(traces) == 14


def test_every_pair_of_three_objectives_has_a_figure(tmp_path: Path) -> None:
    write_whole_run(tmp_path, SEARCH[:1], (), costs=THREE)
    assert set(paper_figures(tmp_path)) == {f"{n}_{SEARCH[0]}" for n in ("front", "front_2", "front_3")} | {
        "anytime_steps"
    }


def test_a_reproduction_has_dots_and_its_curves(tmp_path: Path) -> None:
    folder = write_reproduction_json(tmp_path, make_reproduction(("fast/phone",), UNSEEN[:1], seeds=2))
    curves = {f"anytime_{axis}_{split}" for axis in ("seconds", "evaluations") for split in ("search", "unseen")}
    written = write_figures(folder, tmp_path / "out", width=7)
    assert {file.stem for file in written} == {"dots", "front_fast%2Fphone", f"front_{UNSEEN[0]}", *curves}
    assert 'width="504pt"' in (tmp_path / "out" / "dots.svg").read_text(encoding="utf-8")
    dots = paper_figures(folder)["dots"]
    assert list(dots["layout"]["yaxis"]["ticktext"]) == ["fast/phone", f"{UNSEEN[0]} (unseen)"]
    assert all(len(trace["x"]) == 2 for trace in dots["data"]) and len(dots["data"]) == 6


def test_baselines_have_a_curve_per_device(tmp_path: Path) -> None:
    contest = Contest(make_benchmark().known_space(), 40, tmp_path)
    contest.execute(["random", "local-search"], ["device 0"], 2)
    write_json(tmp_path / "baselines.json", {**contest.settings, "methods": {}, "runs": contest.entries()})
    figures = paper_figures(tmp_path)
    assert set(figures) == {"anytime_evaluations_device%200", "anytime_seconds_device%200"}
    named = [trace["name"] for trace in figures["anytime_evaluations_device%200"]["data"] if "name" in trace]
    assert sorted(named) == ["local-search", "random"]


def test_what_cannot_be_drawn_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="has none of result.json, reproduction.json and baselines.json: give the folder"
    ):
        write_figures(tmp_path)
    with pytest.raises(InputError, match="width: wanted 2 to 12 inches, got 30"):
        write_figures(run, width=30)
