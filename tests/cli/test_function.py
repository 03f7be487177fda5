"""`modnas_fast.search(...)` beside `modnas-fast search`: the same run, from whatever a configuration is written in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up_tables import write_tables

import modnas_fast
from modnas_fast.config import Config, make_config
from modnas_fast.runtime.errors import InputError

SECTIONS: dict[str, dict[str, Any]] = {
    "devices": {"table": "hw-nas-bench-360", "networks": 60},
    "task": {"table": "cifar100", "queries": 30},
    "predictor": {"kind": "additive", "steps": 20, "hidden": 8},
    "search": {"steps": 6, "refine_steps": 4, "refine_preferences": 2, "refine_networks": 100, "evaluations": 0},
    "evaluation": {"rays": 4},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("data"), [])


@pytest.fixture(autouse=True)
def here(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODNAS_DATA", str(tables))
    monkeypatch.setattr("modnas_fast.report.write_report", lambda *_: None)


def content(run: str | Path) -> dict[str, Any]:
    """The result.json of a run, without the seconds."""
    found = json.loads((Path(run) / "result.json").read_text(encoding="utf-8"))
    found.pop("seconds")
    return found


def test_it_gives_what_the_command_line_gives(command: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SECTIONS))
    ended = command("search", "--preset", "nb201", "--config", "mine.yaml", "--seed", "5", "--out", "told")
    assert ended.code == 0, ended.err
    whole = make_config(SECTIONS, preset="nb201", seed=5)
    runs = {
        "file": modnas_fast.search("mine.yaml", preset="nb201", seed=5, out="file"),
        "tree": modnas_fast.search(SECTIONS, preset="nb201", overrides=["seed=5"], out="tree"),
        "sections": modnas_fast.search(preset="nb201", seed=5, out="sections", **SECTIONS),
        "whole": modnas_fast.search(whole, out="whole"),
    }
    for name, result in runs.items():
        assert result.run == Path(name) and content(name) == content("told") == content(result.run), name


def test_a_run_has_a_numbered_folder_and_is_continued() -> None:
    seen: list[Any] = []
    result = modnas_fast.search(SECTIONS, preset="nb201", started=seen.append)
    assert result.run == Path("runs/nb201-001") == seen[0].folder
    before = content(result.run)
    (result.run / "result.json").unlink()
    assert content(modnas_fast.search(resume=str(result.run)).run) == before


def test_sections_change_a_whole_configuration() -> None:
    whole = make_config(SECTIONS, preset="nb201")
    changed = make_config(whole, overrides=["search.steps=3"], evaluation={"rays": 2})
    assert isinstance(changed, Config) and (changed.search.steps, changed.evaluation.rays) == (3, 2)
    assert changed.model_copy(update={"search": whole.search, "evaluation": whole.evaluation}) == whole


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"config": {"sed": 3}}, "unknown key sed; did you mean seed?"),
        ({"serch": {"steps": 3}}, "unknown key serch; did you mean search?"),
        ({"config": 3}, "config: wanted a Config, a mapping of sections or a YAML file, got int"),
        ({"config": "absent.yaml"}, "config: cannot read absent.yaml"),
        ({"config": Config(), "preset": "nb201"}, "preset: a whole configuration was given"),
        ({"resume": "absent"}, "absent holds no run"),
        ({"resume": "absent", "seed": 0}, "resume: a run keeps its configuration"),
        ({"preset": "nb201", "remeasure": True}, "remeasure: with devices.table"),
        ({"preset": "nb201", "verify": {"networks": 3}}, "verify: the true errors of cifar10 are known"),
        ({"preset": "nb201", "mgd": {"scheme": "nowhere:x"}}, "mgd.scheme: 'nowhere:x' cannot be imported"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_written(
    arguments: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        modnas_fast.search(**arguments)
    assert told in str(error.value) and list(tmp_path.iterdir()) == []


def test_a_missing_report_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Path, with_plots: bool) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("modnas_fast.report.write_report", fail)
    with pytest.warns(UserWarning, match="no report: RuntimeError: no ink; modnas-fast report run tries again") as told:
        assert modnas_fast.search(SECTIONS, preset="nb201", out="run").devices
    assert told[0].filename == __file__


def test_an_object_beside_the_data_is_found_by_the_installed_command(cli: Any) -> None:
    (cli.folder / "of_mine.py").write_text("def mean(losses, preference):\n    return (losses * preference).mean(-1)\n")
    for name, code in (("of_mine:mean", 0), ("of_mine:means", 2)):
        run = name.replace(":", "-")
        settings = [part for key, value in TINY_TABLE.items() for part in ("--set", f"{key}={value}")]
        ended = cli("search", "--preset", "nb201", *settings, "--set", f"scalarization.kind={name}", "--out", run)
        assert ended.code == code, ended.err
    assert ended.err.startswith("modnas-fast: scalarization.kind: 'of_mine:means' cannot be loaded")


TINY_TABLE = {f"{section}.{key}": value for section, values in SECTIONS.items() for key, value in values.items()}


@pytest.mark.parametrize(
    "code",
    [
        "import modnas_fast; found = modnas_fast.search",
        "from modnas_fast import search as found",
        "import modnas_fast.search.bilevel; found = modnas_fast.search",
        "import modnas_fast.search as found; from modnas_fast.search import Search",
    ],
)
def test_the_room_is_called_however_it_is_imported(code: str) -> None:
    code += "\nimport modnas_fast; print(callable(found), found is modnas_fast.search)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout == "True True\n"
