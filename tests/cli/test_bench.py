"""`modnas-fast bench`: which benchmarks there are, and that their options are their own."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from modnas_fast.cli import bench as cli_bench


def test_help_lists_what_is_installed(command: Any) -> None:
    ended = command("bench", "--help")
    assert ended.code == 0 and ended.err == ""
    for name in cli_bench.BENCHMARKS:
        there = importlib.util.find_spec(f"modnas_fast.bench.{name}") is not None
        assert (f"  {name} " in ended.out) == there
    assert "  search_step " in ended.out and "bench search_step --quick" in ended.out


def test_help_behind_a_name_is_the_benchmark_s(command: Any) -> None:
    ended = command("bench", "search_step", "--help")
    assert ended.code == 0
    assert "usage: modnas-fast bench search_step" in ended.out
    for option in (
        "--devices",
        "--batch",
        "--rounds",
        "--parts",
        "--compile",
        "--json",
        "--plot",
        "--quick",
        "--threads",
    ):
        assert option in ended.out


@pytest.mark.parametrize("name", ["min_norm", "metapredictor"])
def test_benchmarks_of_a_source_tree(command: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ended = command("bench", name, "--help")
    assert ended.code == 0 and f"usage: modnas-fast bench {name}" in ended.out and "--quick" in ended.out
    ended = command("bench", name, "--threads", "0")
    assert ended.code == 2 and len(ended.err.splitlines()) == 1
    assert f"modnas-fast: bench {name}: argument --threads: wanted a whole number of at least 1" in ended.err
    if name == "metapredictor":
        monkeypatch.delenv("MODNAS_DATA", raising=False)
        assert "MODNAS_DATA must name the folder that holds nb201/" in command("bench", name).err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nothing",), "bench: wanted one of search_step, "),
        (("runner",), "got 'runner'"),
        (("search_step", "--devices", "none"), "--devices: wanted a whole number of at least 1, got 'none'"),
        (("search_step", "more"), "unrecognized arguments: more"),
    ],
)
def test_what_it_does_not_know_is_one_line(command: Any, arguments: tuple[str, ...], text: str) -> None:
    ended = command("bench", *arguments)
    assert ended.code == 2 and ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("modnas-fast: bench") and text in line


def test_questions_to_a_run(command: Any, run: Any, tmp_path: Any) -> None:
    ended = command("bench", "pick", run, "--quick", "--threads", "1", "--json", "pick.json")
    assert ended.code == 0, ended.err
    for words in ("budget, a device of the run", "preference, a new device", "times", "modnas-fast --help"):
        assert words in ended.out
    results = json.loads((tmp_path / "pick.json").read_text(encoding="utf-8"))["results"]
    assert len(results["questions"]) == 4 and results["once"]["open"] > 0


def test_a_missing_subpackage_is_told(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_bench, "available", dict)
    ended = command("bench", "search_step")
    assert ended.code == 2 and "none is installed; reinstall modnas-fast" in ended.err


def test_a_tiny_step(command: Any, tmp_path: Any) -> None:
    sizes = ("--devices", "2", "--batch", "4", "--channels", "2", "--cells", "1", "--side", "8", "--rounds", "1")
    ended = command("bench", "search_step", *sizes, "--threads", "1", "--json", "step.json")
    assert ended.code == 0, ended.err
    assert "published loop" in ended.out and (tmp_path / "step.json").exists()
