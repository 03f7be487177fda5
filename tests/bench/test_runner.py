"""What the benchmarks share: turns, ratios, options, and where their sources are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from modnas_fast.bench import runner
from modnas_fast.bench.classic import classic_combination, classic_step, classic_weights
from modnas_fast.runtime.errors import InputError


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    found = runner.medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4 and list(found) == ["a", "b"] and min(found.values()) > 0


def test_a_median_is_that_of_the_rounds_and_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    # seconds of three turns of two calls each: 2, 30, 4
    clock = iter([0.0, 2.0, 10.0, 40.0, 50.0, 54.0])
    monkeypatch.setattr(runner.time, "perf_counter", lambda: next(clock))
    assert runner.medians({"a": lambda: None}, 3, calls=2, warm=False) == {"a": 2.0}


def test_ratios_are_above_one_where_ours_is_faster() -> None:
    assert runner.ratios({"peer": 6.0, "ours": 2.0, "slow": 1.0}) == {"peer": 3.0, "slow": 0.5}


def test_copy_bandwidth_counts_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "COPIED", 1000)
    monkeypatch.setattr(runner, "medians", lambda contenders, rounds, where: {"copy": 0.5})
    assert runner.copy_bandwidth(3) == 16_000


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "1,,2"])
def test_options_that_are_no_counts(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="wanted a whole number of at least 1"):
        runner.counts(text)


def test_results_are_written_whole_with_what_they_depend_on(tmp_path: Path) -> None:
    file = tmp_path / "new" / "results.json"
    runner.write_results(file, "op", [{"seconds": 1.5}], rounds=3)
    content = json.loads(file.read_text())
    assert content["op"] == "op" and content["rounds"] == 3 and content["results"] == [{"seconds": 1.5}]
    assert content["threads"] == torch.get_num_threads() and "torch" in content["packages"]
    assert [path.name for path in file.parent.iterdir()] == ["results.json"]


def test_a_script_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(arguments: list[str] | None) -> None:
        raise InputError("bench x: no")

    with pytest.raises(SystemExit) as stop:
        runner.run(refuse)
    assert stop.value.code == 2 and capsys.readouterr().err == "bench x: no\n"


def test_a_wheel_has_no_makers_of_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (runner.source_folder([], "x") / "gramians.py").exists()
    with pytest.raises(InputError, match=r"bench x: no_such_package missing; pip install 'modnas-fast\[test\]'"):
        runner.source_folder(["torch", "no_such_package"], "x")
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "modnas_fast" / "bench" / "runner.py"))
    with pytest.raises(InputError, match="bench x: runs in a source tree alone"):
        runner.source_folder([], "x")


# ---- the classic loop ----


def test_the_classic_loop_on_two_orthogonal_gradients() -> None:
    found = classic_weights(torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    torch.testing.assert_close(found, torch.tensor([0.8, 0.2], dtype=torch.float64))


def test_the_classic_loop_per_parameter_is_that_of_the_whole_gradients() -> None:
    jacobian = torch.randn(4, 102, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = classic_weights(jacobian @ jacobian.T) @ jacobian
    torch.testing.assert_close(classic_step(jacobian), wanted, atol=1e-6, rtol=0)
    parts = classic_combination([list(row.split([2, 100])) for row in jacobian])
    torch.testing.assert_close(torch.cat(parts), wanted, atol=1e-6, rtol=0)


def test_the_classic_loop_of_one_device_is_its_gradient() -> None:
    gradient = torch.randn(1, 60)
    assert torch.equal(classic_step(gradient), gradient[0])
