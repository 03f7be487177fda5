"""Plots look alike whatever the user's matplotlib is told, and leave the user's matplotlib as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from report.make_run import write_whole_run

#: writes the report of a run after what the user did, then does what the user does afterwards
PROGRAM = """
import sys
{before}
from modnas_fast.report import write_report
write_report(sys.argv[1])
{after}
"""
DARK = "text.usetex: True\naxes.facecolor: black\nfont.size: 30\nbackend: WebAgg\nsavefig.bbox: tight\n"
INLINE = "module://matplotlib_inline.backend_inline"


def report(run: Path, cwd: Path, before: str = "", after: str = "", **environment: str) -> str:
    """What the program printed; nothing may reach standard error."""
    cwd.mkdir(exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MPL", "MATPLOTLIB"))}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", PROGRAM.format(before=before, after=after), str(run)],
        cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


def small_run(folder: Path) -> Path:
    """Two devices: every kind of plot."""
    return write_whole_run(folder, ("pi",), ("gpu",))


def pictures(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "plots").iterdir()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The plots of a process without settings."""
    folder = tmp_path_factory.mktemp("plain")
    report(small_run(folder / "run"), folder / "cwd")
    return pictures(folder / "run")


@pytest.mark.parametrize(
    "environment",
    [{"MPLBACKEND": INLINE}, {"MPLBACKEND": "nonsense", "MPLCONFIGDIR": "/proc/nothing"}, {"MPLBACKEND": "TkAgg"},
     {"MPLBACKEND": "", "HOME": "/proc/nothing", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}],
    ids=str,
)  # fmt: skip
def test_the_environment_changes_nothing(tmp_path: Path, plain: dict[str, bytes], environment: dict[str, str]) -> None:
    after = "import os; print(os.environ.get('MPLBACKEND'))"
    assert report(small_run(tmp_path / "run"), tmp_path / "cwd", after=after, **environment) == str(
        environment.get("MPLBACKEND")
    )
    assert pictures(tmp_path / "run") == plain


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("here", DARK.encode()),
        ("variable", DARK.encode()),
        ("home", DARK.encode()),
        ("here", b"nonsense\nbackend: x\n:::\n"),
        ("variable", b"\xff\xfe\x80\x81"),
    ],
    ids=["dark-here", "dark-variable", "dark-home", "broken-here", "binary-variable"],
)
def test_a_matplotlibrc_changes_nothing(tmp_path: Path, plain: dict[str, bytes], place: str, content: bytes) -> None:
    cwd = tmp_path / "cwd"
    folder = {"here": cwd, "variable": tmp_path / "other", "home": tmp_path / "settings" / "matplotlib"}[place]
    folder.mkdir(parents=True)
    (folder / "matplotlibrc").write_bytes(content)
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "settings")}
    if place == "variable":
        environment["MATPLOTLIBRC"] = str(folder / "matplotlibrc")
    after = "import os; print(os.getcwd(), os.environ.get('MATPLOTLIBRC'), os.environ.get('MPLCONFIGDIR'))"
    told = report(small_run(tmp_path / "run"), cwd, after=after, **environment)
    assert told == f"{cwd} {environment.get('MATPLOTLIBRC')} None"
    assert pictures(tmp_path / "run") == plain


def test_a_process_that_draws_itself_is_left_alone(tmp_path: Path, plain: dict[str, bytes]) -> None:
    before = (
        "import matplotlib; matplotlib.use('svg'); from matplotlib import pyplot\n"
        "pyplot.style.use('dark_background'); matplotlib.rcParams['text.usetex'] = True\n"
        "matplotlib.rcParams['font.family'] = 'monospace'; old = dict(matplotlib.rcParams); figure = pyplot.figure()"
    )
    after = (
        "assert dict(matplotlib.rcParams) == old and matplotlib.get_backend() == 'svg'\n"
        "assert pyplot.get_fignums() == [1] and pyplot.gcf() is figure"
    )
    report(small_run(tmp_path / "run"), tmp_path / "cwd", before, after)
    assert pictures(tmp_path / "run") == plain


@pytest.mark.parametrize(("backend", "kept"), [("svg", "svg"), (INLINE, "agg")])
def test_a_process_that_draws_later_has_the_backend_it_asked_for(tmp_path: Path, backend: str, kept: str) -> None:
    after = "import matplotlib; print(matplotlib.get_backend().lower(), matplotlib.rcParams['font.size'])"
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "matplotlibrc").write_text("font.size: 17\nbackend: agg\n")
    told = report(small_run(tmp_path / "run"), tmp_path / "cwd", after=after, MPLBACKEND=backend)
    assert told == f"{kept} 17.0"


def test_glyphs_that_a_font_lacks_stay_silent(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    text = (run / "result.json").read_text(encoding="utf-8")
    name = json.dumps(json.loads(text)["devices"][0]["name"])
    (run / "result.json").write_text(text.replace(name, '"手机 📱"'), encoding="utf-8")
    assert report(run, tmp_path / "cwd") == ""
