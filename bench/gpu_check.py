"""The first ten minutes on a GPU as one command: builds, tests, sanitizes and measures, and says what is missing.

Runs in a source tree (`make gpu-check`), on a machine without a GPU too: what cannot run there is left out with its
reason and remedy. Everything goes into one JSON with the machine's name.

  build       the CUDA sources, and where there is a GPU the package with them
  tests       those that name CUDA, GPUs or graphs; skipped ones with their reasons
  code        the kernels compiled for sm_80 and sm_90: nothing spills
  sanitize    random cases in Triton's interpreter; with a GPU also compute-sanitizer's racecheck and memcheck
  measure     cells beside the bandwidth of a copy; whole steps of the paper's search, by part and by kind of kernel
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modnas_fast.bench.runner import Parser, count, run, shown, source_folder, write_results
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.implementations import Availability

#: where a step's command finds the paths of what it may write
REPORT, RESULTS = "{report}", "{results}"
#: lines of a step's output that are kept
TAIL = 30
SOLVE = """
import torch
from modnas_fast.mgd import min_norm
from modnas_fast.runtime import implementations
assert implementations.chosen("min_norm", "cuda").name == "cuda"
for size in (13, 64, 118):
    rows = torch.randn(4, size, 2 * size, dtype=torch.float64, device="cuda")
    min_norm(rows @ rows.mT)
torch.cuda.synchronize()
"""


@dataclass(frozen=True)
class Step:
    """One command, and what it needs to be there."""

    part: str
    name: str
    command: list[str]
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def _pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={REPORT}", *arguments]


def _bench(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"modnas_fast.bench.{name}", "--device", "cuda", "--json", RESULTS, *arguments]


def steps() -> list[Step]:
    """All, in their order."""
    build, cmake = "build/gpu-check", _beside_python("cmake")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-build-isolation", "--no-deps"]
    cuda = {"MODNAS_FAST_CUDA": "on"}
    checked = ["compute-sanitizer", "--error-exitcode", "9", "--target-processes", "all", "--tool"]
    configure = [cmake, "-S", ".", "-B", build, "-DMODNAS_FAST_PYTHON=OFF", "-DMODNAS_FAST_CUDA=on"]
    named = "cuda or gpu or graph or captured"
    cell = "tests/ops/test_mixed_cell_triton.py"
    return [
        Step("build", "configure the CUDA sources", configure, ("nvcc",)),
        Step("build", "compile the CUDA sources", [cmake, "--build", build], ("nvcc",)),
        Step("build", "install with CUDA", [*pip, "--editable", "."], ("gpu", "nvcc"), cuda),
        Step("tests", "operations", _pytest("tests/ops", "-k", named), ("triton",)),
        Step("tests", "passes", _pytest("tests/supernets", "tests/spaces/nb201/test_convolution.py", "-k", named)),
        Step(
            "tests", "search", _pytest("tests/search/test_search_device.py", "tests/bench/test_cells.py", "-k", named)
        ),
        Step("code", "registers", _pytest(cell, "-k", "without_spilling and bfloat16"), ("triton",)),
        Step("sanitize", "interpreter", _pytest("tests/ops/test_sanitized.py"), ("triton",)),
        Step(
            "sanitize",
            "races of min_norm",
            [*checked, "racecheck", sys.executable, "-c", SOLVE],
            ("gpu", "compute-sanitizer"),
        ),
        Step(
            "sanitize",
            "memory of mixed_cell",
            [*checked, "memcheck", *_pytest(cell, "-k", "as_close_as_the_reference and cuda")],
            ("gpu", "triton", "compute-sanitizer"),
        ),
        Step("measure", "cells", _bench("mixed_cell", "--devices", "13"), ("gpu", "triton")),
        Step("measure", "quick step", _bench("search_step", "--quick", "--parts", "--no-compile"), ("gpu", "triton")),
        Step(
            "measure",
            "paper's step",
            _bench("search_step", "--devices", "13", "--batch", "256", "--parts", "--no-compile"),
            ("gpu", "triton"),
        ),
    ]


PARTS = ("build", "tests", "code", "sanitize", "measure")


# ---- what is there ----


def _beside_python(name: str) -> str:
    """A program of this environment, else of the path."""
    own = Path(sys.executable).with_name(name)
    return str(own) if own.exists() else name


def _program(name: str, remedy: str) -> Callable[[], Availability]:
    """Whether a program is on the path, or where CUDA toolkits put theirs."""

    def look() -> Availability:
        found = shutil.which(name, path=_search_path())
        return Availability(found is not None, found or f"{name} was not found", "" if found else remedy)

    return look


def _search_path() -> str:
    homes = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    toolkits = sorted(Path("/usr/local").glob("cuda*"), reverse=True)
    folders = [Path(home) / "bin" for home in homes if home] + [toolkit / "bin" for toolkit in toolkits]
    folders += [toolkit / "compute-sanitizer" for toolkit in toolkits]
    return os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])


def _gpu() -> Availability:
    found = implementations.gpus()
    remedy = "run on a machine with a GPU of compute capability 8.0 or later, its driver, and torch for CUDA"
    return found if found.usable else Availability(False, found.reason, remedy)


def _triton() -> Availability:
    from importlib.util import find_spec

    found = find_spec("triton") is not None
    return Availability(found, "Triton" if found else "Triton is not installed", "" if found else "pip install triton")


THINGS: dict[str, Callable[[], Availability]] = {
    "gpu": _gpu,
    "nvcc": _program("nvcc", "install the CUDA toolkit, or set CUDA_HOME"),
    "triton": _triton,
    "compute-sanitizer": _program("compute-sanitizer", "install the CUDA toolkit's compute-sanitizer"),
}


def _names_of_gpus() -> list[str]:
    """GPUs with driver, memory and clock, as nvidia-smi tells."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


# ---- running ----


def perform(step: Step, things: dict[str, Availability], root: Path, seconds: float) -> dict[str, Any]:
    """What came of one step: `passed`, `failed` or `skipped` with the reason, and what it reported."""
    row: dict[str, Any] = {"part": step.part, "name": step.name}
    absent = [things[need].reason for need in step.needs if not things[need].usable]
    if absent:
        return {**row, "status": "skipped", "reason": "; ".join(absent)}
    with tempfile.TemporaryDirectory() as folder:
        report, results = Path(folder) / "report.xml", Path(folder) / "results.json"
        command = [word.replace(REPORT, str(report)).replace(RESULTS, str(results)) for word in step.command]
        environment = {**os.environ, "PATH": _search_path(), **step.environment}
        start = time.monotonic()
        status, output = _run(command, root, environment, seconds)
        if status is None:
            row["reason"] = f"took longer than {shown(seconds)}"
        row |= {"status": "passed" if status == 0 else "failed", "seconds": time.monotonic() - start}
        if report.exists():
            row["tests"] = told_by(report)
        if results.exists():
            row["results"] = json.loads(results.read_text(encoding="utf-8"))
        if status != 0:
            row["output"] = output.splitlines()[-TAIL:]
    return row


def _run(command: list[str], root: Path, environment: dict[str, str], seconds: float) -> tuple[int | None, str]:
    """Exit status and output; None where it was ended, with all that it started."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    with subprocess.Popen(command, cwd=root, env=environment, text=True, errors="replace", **pipes) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]
        return process.returncode, output


def told_by(report: Path) -> dict[str, Any]:
    """Counts of a test run, the names of what failed, and why others were skipped."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [skip.get("message") for case in cases if (skip := case.find("skipped")) is not None]
    passed = len(cases) - len(failed) - len(skipped)
    return {"passed": passed, "failed": failed, "skipped": {why: skipped.count(why) for why in sorted(set(skipped))}}


def line_of(row: dict[str, Any]) -> str:
    """What the terminal says of a step."""
    words = [row.get("reason", "")]
    if told := row.get("tests"):
        skipped = sum(told["skipped"].values())
        words.append(f"{told['passed']} passed, {len(told['failed'])} failed, {skipped} skipped")
    words.append(shown(row["seconds"]) if "seconds" in row else "")
    return f"{row['part']:<10}{row['name']:<30}{row['status']:<9}{', '.join(filter(None, words))}"


def main(arguments: list[str] | None = None) -> None:
    """Runs the steps, prints a line for each, writes the JSON; InputError at the end where one failed."""
    parser = Parser("gpu_check", __doc__)
    parser.add_argument("--only", metavar="PART,PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--step-seconds", type=count, default=600, metavar="N", help="of a step at most; default: 600")
    given = parser.parse_args(arguments)
    wanted = given.only.split(",") if given.only else list(PARTS)
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        parser.error(f"--only: wanted parts of {', '.join(PARTS)}, got {', '.join(unknown)}")
    root = source_folder(["pytest"], "gpu_check").parent
    things = {name: look() for name, look in THINGS.items()}
    absent = [{"what": found.reason, "remedy": found.remedy} for found in things.values() if not found.usable]
    facts = {"machine": _names_of_gpus(), "absent": absent}
    rows: list[dict[str, Any]] = []
    for step in steps():
        if step.part in wanted:
            rows.append(perform(step, things, root, given.step_seconds))
            print(line_of(rows[-1]), flush=True)
            if given.json:
                write_results(given.json, "gpu_check", rows, **facts)
    for thing in absent:
        print(f"missing: {thing['what']}; {thing['remedy']}")
    failed = [f"{row['part']} {row['name']}" for row in rows if row["status"] == "failed"]
    if failed:
        raise InputError(f"bench gpu_check: failed: {', '.join(failed)}; their last lines are in the JSON (--json)")


if __name__ == "__main__":
    run(main)
