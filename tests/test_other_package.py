"""A space of another package, installed beside this one, goes through everything with three objectives.

No file of this package names it: it is found by its entry point.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from report.browser import drawn, needs_browser, watch

OTHER = Path(__file__).parent / "elastic_digits"
SMALL = {
    "space.name": "elastic-mlp",
    "objectives": "[error,latency,parameters]",
    "task.limit": 400,
    "devices.networks": 12,
    "devices.heldout": 6,
    "devices.repeats": 2,
    "devices.formats": "[float32]",
    "devices.unseen": "[cpu_t1_b32_fp32]",
    "predictor.steps": 100,
    "search.steps": 60,
    "search.warmup_steps": 60,
    "search.refine_steps": 20,
    "search.checkpoint_every": 4,
    "search.evaluations": 2,
    "evaluation.rays": 12,
    "verify.networks": 2,
    "verify.epochs": 25,
}


class Beside:
    """Runs `modnas-fast` where the other package is installed, too."""

    def __init__(self, folder: Path, installed: Path) -> None:
        self.folder = folder
        self._environment = {
            **os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "MODNAS_CACHE": str(folder / "cache"),
        }  # fmt: skip

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", "from modnas_fast.cli.app import main; main()"]
        return subprocess.Popen(
            [*program, *map(str, arguments)], cwd=self.folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *arguments: str | Path) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Beside:
    folder = tmp_path_factory.mktemp("beside")
    shutil.copytree(OTHER, folder / "sources")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", folder / "installed", folder / "sources"], check=True)
    return Beside(folder, folder / "installed")


def options() -> list[str]:
    return [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def run(beside: Beside) -> Path:
    out = beside("search", "--out", "run", *options())
    assert "Verified" in out and out.rstrip().endswith("Report: run/report.html")
    return beside.folder / "run"


def test_it_is_short_and_nobody_here_names_it() -> None:
    assert len((OTHER / "elastic_mlp.py").read_text(encoding="utf-8").splitlines()) <= 200
    sources = Path(__file__).parents[1] / "modnas_fast"
    assert not any("elastic-mlp" in path.read_text(encoding="utf-8") for path in sources.rglob("*.py"))


def test_its_answer_has_three_objectives(run: Path) -> None:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert [objective["key"] for objective in result["objectives"]] == ["error", "latency_ms", "parameters"]
    assert result["space"] | {"name": "elastic-mlp", "num_architectures": 192, "multiple": 1} == result["space"]
    for device in result["devices"]:
        assert device["hypervolume"] > 0.2 and len(device["front"]) >= 2
        for point in device["rays"]:
            widths = [64, *map(int, point["architecture"].split("-")), 10]
            assert point["parameters"] == sum((a + 1) * b for a, b in itertools.pairwise(widths))
    assert min(network["test"] for network in result["verified"]) < 40, "it learns"


def test_killed_it_ends_as_if_unbroken(beside: Beside, run: Path) -> None:
    process = beside.start("search", "--out", "broken", *options())
    broken = beside.folder / "broken"
    while process.poll() is None and not (broken / "checkpoint.pt").exists():
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (broken / "result.json").exists()
    beside("search", "--resume", "broken")
    whole, resumed = (json.loads((folder / "result.json").read_text(encoding="utf-8")) for folder in (run, broken))
    assert {**whole, "seconds": None} == {**resumed, "seconds": None}


def test_it_is_asked(beside: Beside, run: Path) -> None:
    (device, *_), _ = json.loads(beside("pick", run, "--devices", "--json")), None
    question = ("pick", run, "--device", device["name"], "--max", "parameters=1500", "--json")
    assert json.loads(beside(*question))["parameters"] <= 1500
    (beside.folder / "new.txt").write_text(" ".join(str(1 + k) for k in range(10)))
    assert "parameters" in beside("pick", run, "--embedding", "new.txt", "--preference", "1,1,1")


def test_its_keys_are_checked(beside: Beside) -> None:
    process = beside.start("search", *options(), "--set", "space.multipel=2")
    _, err = process.communicate()
    assert process.returncode == 2 and "did you mean space.multiple?" in err and len(err.splitlines()) == 1


@needs_browser
def test_its_page(beside: Beside, run: Path, tmp_path: Path) -> None:
    assert beside("report", run)
    document, troubles, _ = watch(run / "report.html", tmp_path)
    assert troubles == [] and drawn(document) >= 6
