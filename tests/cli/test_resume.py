"""A search that is killed or asked to stop continues to the result of an unbroken one."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from modnas_fast.runtime.errors import InputError


def assert_equal_to_unbroken(cli: Any, name: str, run: Path) -> None:
    assert cli.result(name) == cli.result(run)
    for file in ("history.json", "predictor.json"):
        assert (cli.folder / name / file).read_bytes() == (run / file).read_bytes(), file


def test_after_kill_9_the_run_ends_as_if_unbroken(cli: Any, run: Path) -> None:
    broken = cli.folder / "killed"
    ended = cli.interrupt(signal.SIGKILL, broken, 12, "--out", "killed", *cli.settings())
    assert ended.code == -signal.SIGKILL
    assert 12 < cli.steps(broken) < cli.total_steps
    assert not (broken / "result.json").exists() and not (broken / "evaluation.json").exists()
    ended = cli.here("search", "--resume", "killed")
    assert ended.code == 0, ended.err
    assert f"of {cli.total_steps}" in ended.err and "Continuing at step" in ended.err
    assert_equal_to_unbroken(cli, "killed", run)


def test_signals_leave_a_checkpoint_and_say_how_to_go_on(cli: Any, run: Path) -> None:
    stopped = cli.folder / "stopped"
    ended = cli.interrupt(signal.SIGTERM, stopped, 5, "--out", "stopped", *cli.settings())
    first = cli.steps(stopped)
    assert_says_how_to_go_on(ended, 128 + signal.SIGTERM)
    assert 5 < first < cli.total_steps
    assert ended.out == "" and not (stopped / "result.json").exists()

    ended = cli.interrupt(signal.SIGINT, stopped, first, "--resume", "stopped")
    assert_says_how_to_go_on(ended, 128 + signal.SIGINT)
    assert f"Continuing at step {first} of {cli.total_steps}" in ended.err
    assert first < cli.steps(stopped) < cli.total_steps

    assert cli.here("search", "--resume", "stopped").code == 0
    assert_equal_to_unbroken(cli, "stopped", run)


def assert_says_how_to_go_on(ended: Any, code: int) -> None:
    assert ended.code == code
    assert ended.err.splitlines()[-1] == "Stopped. Continue with: modnas-fast search --resume stopped"
    assert "Traceback" not in ended.err


def test_a_finished_run_resumes_at_once_and_gets_its_report_again(command: Any, cli: Any, copied: Path) -> None:
    (copied / "report.html").unlink()
    before = {name: (copied / name).read_bytes() for name in ("result.json", "checkpoint.pt", "history.json")}
    start = time.monotonic()
    ended = command("search", "--resume", copied)
    assert ended.code == 0 and time.monotonic() - start < 30
    assert "Searching" not in ended.err and "Measuring" not in ended.err
    assert (copied / "report.html").stat().st_size > 1000
    assert before == {name: (copied / name).read_bytes() for name in before}
    assert "MODNAS" in ended.out


@pytest.mark.parametrize(
    "missing",
    [
        ("result.json",),
        ("result.json", "verification.json", "costs.json"),
        ("result.json", "evaluation.json", "hypernetwork.safetensors", "supernet.safetensors"),
    ],
    ids=["composed", "verified", "evaluated"],
)
def test_a_run_killed_after_the_search_repeats_only_what_is_missing(
    cli: Any, command: Any, run: Path, copied: Path, missing: tuple[str, ...]
) -> None:
    for name in missing:
        (copied / name).unlink()
    ended = command("search", "--resume", copied)
    assert ended.code == 0, ended.err
    assert "Searching" not in ended.err
    assert cli.result(copied) == cli.result(run)


def test_bad_ways_to_resume(command: Any, tmp_path: Path, copied: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, text in (
        (("--resume", "empty"), "holds no run"),
        (("--resume", "absent"), "holds no run"),
        (("--resume", copied, "--seed", "1"), "a run keeps its configuration"),
        (("--resume", copied, "--preset", "cifar10-small"), "a run keeps its configuration"),
        (("--resume", copied, "--set", "search.steps=1"), "a run keeps its configuration"),
        (("--resume", copied, "--out", "elsewhere"), "a run keeps its configuration"),
    ):
        ended = command("search", *arguments)
        assert ended.code == 2 and text in ended.err, arguments
        assert len(ended.err.splitlines()) == 1 and ended.out == ""


@pytest.mark.parametrize(
    ("damaged", "absent"),
    [
        ("checkpoint.pt", ("result.json", "evaluation.json")),
        ("measurements.json", ("result.json",)),
        ("evaluation.json", ("result.json",)),
        ("verification.json", ("result.json",)),
        ("metapredictor.safetensors", ("result.json",)),
        ("config.yaml", ("result.json",)),
        ("result.json", ()),
    ],
)
@pytest.mark.parametrize("content", [b"{", b"\x80\x81 nothing\n"], ids=["cut", "binary"])
def test_a_damaged_file_is_named(
    command: Any, copied: Path, damaged: str, absent: tuple[str, ...], content: bytes
) -> None:
    for name in absent:
        (copied / name).unlink()
    (copied / damaged).write_bytes(content)
    ended = command("search", "--resume", copied)
    assert ended.code == 2, ended.err
    message = [line for line in ended.err.splitlines() if line.startswith("modnas-fast: ")]
    assert len(message) == 1 and damaged in message[0]
    assert ended.err.splitlines()[-1] == message[0]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (ImportError("No module named 'matplotlib'"), "ImportError: No module named 'matplotlib'"),
        (InputError("run cannot be written (No space left on device)"), "no report: run cannot be written"),
        (RuntimeError("two\nlines"), "RuntimeError: two lines"),
    ],
)
def test_a_report_that_fails_leaves_the_answer(
    command: Any, copied: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: str
) -> None:
    def fail(run: Path, with_plots: bool) -> None:
        raise fault

    before = (copied / "result.json").read_bytes()
    monkeypatch.setattr("modnas_fast.report.write_report", fail)
    ended = command("search", "--resume", copied)
    assert ended.code == 1 and "MODNAS" in ended.out and "Report:" not in ended.out
    last = ended.err.splitlines()[-1]
    assert told in last and last.endswith(f"modnas-fast report {copied}") and "Traceback" not in ended.err
    assert (copied / "result.json").read_bytes() == before
