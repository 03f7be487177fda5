"""The commands around a search: help, version, doctor, report, and the configuration that is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import modnas_fast

OPTIONS = {
    "search": (
        "--data",
        "--preset",
        "--config",
        "--set",
        "--seed",
        "--verify",
        "--out",
        "--resume",
        "--remeasure",
        "--show-config",
    ),
    "pick": (
        "RUN",
        "--device",
        "--preference",
        "--max",
        "--embedding",
        "--devices",
        "--references",
        "--json",
    ),
    "report": ("RUN",),
    "tables": ("RUN", "--out", "--formats"),
    "figures": ("RUN", "--out", "--width"),
    "doctor": ("--json",),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_help_names_every_option(command: Any, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0 and ended.err == ""
    for option in OPTIONS[name]:
        assert option.lower() in ended.out.lower(), option


def test_help_lists_the_commands(command: Any) -> None:
    ended = command("--help")
    assert ended.code == 0
    for name in OPTIONS:
        assert f" {name} " in ended.out
    bare = command()
    assert bare.code in (0, 2) and "search" in bare.out + bare.err


def test_the_shell_completes_commands_and_options(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MODNAS_FAST_COMPLETE", "complete_bash")
    for words, place, wanted in (("modnas-fast se", 1, ["search"]), ("modnas-fast search --pre", 2, ["--preset"])):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(place))
        assert command().out.split() == wanted


def test_version_as_a_process(cli: Any) -> None:
    ended = cli("--version")
    assert (ended.code, ended.out, ended.err) == (0, f"modnas-fast {modnas_fast.__version__}\n", "")


def test_show_config_is_read_back_to_the_same(command: Any, tmp_path: Path) -> None:
    first = command(
        "search",
        "--show-config",
        "--preset",
        "cifar10-small",
        "--seed",
        "3",
        "--verify",
        "2",
        "--data",
        "images",
        "--set",
        "search.steps=7",
        "--set",
        "search.weight_learning_rate=1e-3",
        "--set",
        "architect.tau_max=5",
        "--set",
        "architect.tau_min=0.5",
        "--set",
        "devices.unseen=[a,b]",
    )
    assert first.code == 0, first.err
    (tmp_path / "shown.yaml").write_text(first.out)
    again = command("search", "--show-config", "--config", "shown.yaml")
    assert (again.code, again.out, again.err) == (0, first.out, "")
    shown = yaml.safe_load(first.out)
    assert shown["seed"] == 3 and shown["verify"]["networks"] == 2
    assert shown["search"]["steps"] == 7 and shown["search"]["weight_learning_rate"] == 1e-3
    assert shown["devices"]["unseen"] == ["a", "b"]
    assert shown["task"]["data"] == str(tmp_path / "images")
    assert [path.name for path in tmp_path.iterdir()] == ["shown.yaml"]


def test_a_region_on_the_command_line_is_one_of_the_configuration(command: Any) -> None:
    asked = ("search", "--show-config", "--within", "latency_ms=3:8", "--within", "error=:30")
    shown = yaml.safe_load(command(*asked, "--set", "preferences.focus=0.7").out)["preferences"]
    within = {"latency_ms": [3.0, 8.0], "error": [None, 30.0]}
    assert shown["regions"] == [{"devices": ["*"], "within": within, "weights": {}}] and shown["focus"] == 0.7
    ended = command(*asked[:2], "--within", "latency_ms=8:3")
    assert ended.code == 2 and "latency_ms wants [from, to] with from < to, got [8.0, 3.0]" in ended.err


def test_what_is_nearer_wins(command: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 5\ntask: {limit: 300}\n")
    arguments = ("search", "--show-config", "--preset", "cifar10-small", "--config", "mine.yaml")
    shown = yaml.safe_load(command(*arguments).out)
    assert shown["seed"] == 5 and shown["task"]["limit"] == 300 and shown["task"]["resize"] == 16
    assert yaml.safe_load(command(*arguments, "--seed", "6").out)["seed"] == 6
    assert yaml.safe_load(command(*arguments, "--seed", "6", "--set", "seed=7").out)["seed"] == 7


def test_the_saved_configuration_is_the_shown_one(command: Any, cli: Any, run: Path) -> None:
    shown = command("search", "--show-config", *cli.settings()).out.splitlines()
    bare = [line for line in shown if line and not line.lstrip().startswith("#")]
    assert (run / "config.yaml").read_text(encoding="utf-8").splitlines() == bare


def test_showing_the_configuration_loads_no_torch(cli: Any) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from modnas_fast.cli import app as cli\n"
        "sys.argv = ['modnas-fast', 'search', '--show-config']\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_doctor(command: Any) -> None:
    ended = command("doctor")
    assert ended.code == 0 and "min_norm" in ended.out and "\x1b" not in ended.out


def test_doctor_for_machines(cli: Any) -> None:
    ended = cli("doctor", "--json")
    assert ended.code == 0 and ended.err == ""
    content = json.loads(ended.out)
    assert "min_norm" in {row["op"] for row in content["operations"]}
    assert content["packages"]["modnas-fast"] == modnas_fast.__version__


def test_doctor_for_ranks_says_how_to_start_them(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ended = command("doctor", "--distributed")
    assert ended.code == 2 and "torchrun --standalone" in ended.err and ended.err.count("\n") == 1


def test_report_is_built_again(command: Any, copied: Path) -> None:
    (copied / "report.html").unlink()
    shutil.rmtree(copied / "plots", ignore_errors=True)
    ended = command("report", copied)
    assert (ended.code, ended.out, ended.err) == (0, f"{copied / 'report.html'}\n", "")
    page = (copied / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("cpu_t1_b1_fp32", "</html>"))
    assert list((copied / "plots").glob("*.png"))
