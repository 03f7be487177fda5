"""Several commands at once in one place, and a run that is asked for while it goes on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from pictures import fill


def first_line(process: Any) -> str:
    return process.stderr.readline().strip()


def test_jobs_that_start_together_get_a_folder_each(cli: Any, tmp_path: Path) -> None:
    fill(tmp_path / "photos" / "cat", 12)
    fill(tmp_path / "photos" / "dog", 12)
    jobs = [cli.start("search", "--data", tmp_path / "photos", *cli.settings()) for _ in range(3)]
    try:
        names = {first_line(job) for job in jobs}
    finally:
        for job in jobs:
            job.kill()
            job.communicate()
    assert names == {f"Run folder: runs/photos-{number:03d}" for number in range(1, 4)}


def test_of_two_jobs_with_one_folder_one_is_refused(cli: Any) -> None:
    jobs = [cli.start("search", "--out", "shared", *cli.settings()) for _ in range(2)]
    try:
        lines = sorted(first_line(job) for job in jobs)
    finally:
        for job in jobs:
            job.kill()
            job.communicate()
    assert lines[0] == "Run folder: shared"
    assert lines[1].startswith("modnas-fast: --out: ") and "shared" in lines[1]


def test_a_run_that_goes_on_is_neither_resumed_nor_reported(cli: Any, command: Any) -> None:
    job = cli.start("search", "--out", "busy", *cli.settings())
    try:
        assert first_line(job) == "Run folder: busy"
        for arguments in (("search", "--resume", cli.folder / "busy"), ("report", cli.folder / "busy")):
            ended = command(*arguments)
            assert ended.code == 2 and ended.out == ""
            (line,) = ended.err.splitlines()
            assert "busy" in line and f"process {job.pid} on " in line
        job.send_signal(signal.SIGKILL)
    finally:
        job.kill()
        job.communicate()
    assert "is not finished" not in command("report", cli.folder / "busy").err
    (cli.folder / "busy" / "config.yaml").write_text("sed: 3\n")
    assert "did you mean seed?" in command("search", "--resume", cli.folder / "busy").err


@pytest.mark.parametrize("way", ["yaml", "set", "option"])
def test_a_run_continues_from_anywhere(
    cli: Any, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    fill(tmp_path / "photos" / "cat", 12, size=(6, 6))
    fill(tmp_path / "photos" / "dog", 12, size=(6, 6))
    (tmp_path / "my.yaml").write_text("task: {data: photos}\n")
    given = {
        "yaml": ("--config", "my.yaml"),
        "set": ("--set", "task.data=./photos"),
        "option": ("--data", "photos"),
    }[way]
    small = cli.settings(task__limit="null", search__steps=1, search__warmup_steps=1, search__refine_steps=1,
                         search__evaluations=0, devices__networks=2, devices__heldout=4, devices__repeats=1,
                         predictor__steps=2, verify__networks=0)  # fmt: skip
    assert command("search", "--out", "r", *small, *given).code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("result.json", "evaluation.json", "checkpoint.pt"):
        (tmp_path / "r" / name).unlink()
    ended = command("search", "--resume", tmp_path / "r")
    assert ended.code == 0, ended.err
    assert cli.result(tmp_path / "r")["configuration"]["task"]["data"] == str(tmp_path / "photos")


def test_the_home_folder_is_understood_everywhere(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "my.yaml").write_text("seed: 4\n")
    assert "seed: 4" in command("search", "--show-config", "--config", "~/my.yaml").out
    for option in (("--data", "~/photos"), ("--set", "task.data=~/photos")):
        assert f"data: {tmp_path}/home/photos" in command("search", "--show-config", *option).out
    for arguments in (
        ("search", "--resume", "~/run"), ("report", "~/run"), ("search", "--data", "~/photos"),
        ("data", "convert", "~/absent.pickle"), ("search", "--out", "~/my.yaml"),
    ):  # fmt: skip
        assert str(tmp_path / "home") in command(*arguments).err
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("name", ["baselines", "reproduce"])
def test_a_folder_of_many_searches_is_worked_on_by_one_command(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from modnas_fast.runtime.lock import locked

    known = Mock(**{"return_value.known_space.return_value.fronts": {"a": None}})
    monkeypatch.setattr("modnas_fast.reproduction.tables.load_benchmark", known)
    monkeypatch.setattr("modnas_fast.baselines.contest.Problem", Mock())
    with locked(tmp_path / "shared"):
        ended = command(name, "nb201", "--out", "shared")
    assert ended.code == 2 and "shared is in use by process" in ended.err
