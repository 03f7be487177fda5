"""The adapter of docs/benchmark.md to a package that is no dependency, where it is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_up_tables import make_benchmark

from modnas_fast.baselines import Problem

PAGE = Path(__file__).parents[2] / "docs" / "benchmark.md"


def test_a_table_is_a_blackbox_of_syne_tune(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("syne_tune", reason="syne-tune is not installed: no part of the package needs it")
    known = make_benchmark().known_space()
    known.fronts["pixel3"] = known.measured["pixel3"] = known.fronts["device 0"]
    names = {"Problem": Problem, "tables": known}
    (code,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert code.count("\n") < 30
    exec(compile(code, "docs/benchmark.md", "exec"), names)
    problem = names["problem"]
    assert problem.left == 0 and len(problem.rows) == 20
    assert "'error': " in capsys.readouterr().out
