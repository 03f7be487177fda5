"""The check of the first minutes on a GPU: what it runs, leaves out and writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from modnas_fast.bench import gpu_check
from modnas_fast.bench.gpu_check import PARTS, REPORT, RESULTS, THINGS, Step, main, steps
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.implementations import Availability

ROOT = Path(__file__).parents[2]
THERE, ABSENT = Availability(True, "there"), Availability(False, "torch sees no CUDA device", "run elsewhere")


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_every_step_names_things_and_files_that_there_are() -> None:
    assert [part for part in PARTS if any(step.part == part for step in steps())] == list(PARTS)
    for step in steps():
        assert step.part in PARTS and set(step.needs) <= set(THINGS)
        for word in step.command:
            assert not word.startswith("tests/") or (ROOT / word).exists(), word


@pytest.fixture
def four_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "steps", lambda: [
        Step("build", "fine", python("print('hidden')")),
        Step("tests", "counted", python(
            "import sys; open(sys.argv[1], 'w').write('<testsuites><testsuite><testcase name=\"a\"/>"
            "<testcase name=\"b\"><failure/></testcase><testcase name=\"c\"><skipped message=\"no GPU\"/></testcase>"
            "</testsuite></testsuites>')") + [REPORT]),
        Step("sanitize", "wrong", python("import sys; print('the last words'); sys.exit(3)")),
        Step("measure", "needs a GPU", python("raise SystemExit"), ("gpu",)),
        Step("measure", "measured", [*python(
            "import os, sys; open(sys.argv[1], 'w').write('{\"seconds\": %s}' % os.environ['N'])"), RESULTS],
            environment={"N": "1.5"}),
    ])  # fmt: skip
    monkeypatch.setattr(gpu_check, "THINGS", {"gpu": lambda: ABSENT, "nvcc": lambda: THERE})


@pytest.mark.usefixtures("four_steps")
def test_one_json_tells_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "check.json"
    with pytest.raises(InputError, match="failed: sanitize wrong; their last lines are in the JSON"):
        main(["--json", str(file)])
    content = json.loads(file.read_text())
    assert content["op"] == "gpu_check" and {"commit", "cpu", "packages", "gpus", "machine"} <= set(content)
    assert content["absent"] == [{"what": "torch sees no CUDA device", "remedy": "run elsewhere"}]
    rows = {row["name"]: row for row in content["results"]}
    statuses = {name: row["status"] for name, row in rows.items()}
    assert statuses == {
        "fine": "passed", "counted": "passed", "wrong": "failed", "needs a GPU": "skipped", "measured": "passed",
    }  # fmt: skip
    assert rows["counted"]["tests"] == {"passed": 1, "failed": ["b"], "skipped": {"no GPU": 1}}
    assert rows["wrong"]["output"] == ["the last words"] and "output" not in rows["fine"]
    assert rows["needs a GPU"]["reason"] == "torch sees no CUDA device"
    assert rows["measured"]["results"] == {"seconds": 1.5}
    out = capsys.readouterr().out
    assert "1 passed, 1 failed, 1 skipped" in out and "missing: torch sees no CUDA device; run elsewhere" in out


@pytest.mark.usefixtures("four_steps")
def test_parts_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "build,measure"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "build",
        "measure",
        "measure",
        "missing:",
    ]
    with pytest.raises(InputError, match="--only: wanted parts of build, tests, code, sanitize, measure, got speed"):
        main(["--only", "speed"])


def test_a_step_that_does_not_end_is_ended_with_what_it_started() -> None:
    endless = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    row = gpu_check.perform(Step("build", "endless", python(endless)), {}, ROOT, 1.0)
    assert row["status"] == "failed" and row["reason"] == "took longer than 1 s"


def test_programs_of_toolkits_are_found_beside_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "compute-sanitizer"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    look = gpu_check._program("compute-sanitizer", "install it")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert look() == Availability(True, str(program))
