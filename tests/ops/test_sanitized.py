"""Random cases of the Triton kernels in the interpreter, under a sanitizer: no race, no access out of bounds.

Some seeds in every run; MODNAS_FAST_FUZZ=300 goes on for so many seconds per operation, from another seed each time,
which is told where something is found.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from interpreter_sanitizer import sanitized
from kernel_fuzz import FUZZ

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
SECONDS = float(os.environ.get("MODNAS_FAST_FUZZ", "0"))
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="run under TRITON_INTERPRET=1 by another test")
#: of each operation, in every run
SEEDS = {"mixed_cell": range(2), "gramian": range(6), "entangled_linear": range(4), "elastic_depthwise": range(2)}


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="this is the process in which the others run")
def test_the_sanitizer_finds_nothing_in_the_kernels() -> None:
    """In a process of its own, since the interpreter must be asked for before triton is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", __file__],
        cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(FUZZ) + 5} passed" in done.stdout, done.stdout


@needs_interpreter
@pytest.mark.parametrize("op", FUZZ)
def test_no_case_errs_or_strays(op: str) -> None:
    seeds, end = list(SEEDS[op]), time.monotonic() + SECONDS
    rest = random.Random(time.time_ns() if SECONDS else 0)
    while seeds or time.monotonic() < end:
        seed = seeds.pop(0) if seeds else rest.randrange(1 << 31)
        with sanitized(seed) as found:
            complaints = FUZZ[op](seed, found)
        assert found.launches, "no kernel ran"
        assert not complaints + found.problems, (f"seed {seed}", complaints, found.problems[:5])


# ---- what this rests on: planted faults are found ----


def launch(fault: str) -> list[str]:
    """What is found in a kernel that copies 40 numbers by programs of 16."""
    import planted_kernels

    # a part of something larger: what lies behind it is no tensor of the launch
    source, target = torch.arange(80.0)[:40], torch.zeros(80)[:40]
    with sanitized() as found:
        planted_kernels.copy[(3,)](source, target, 40, FAULT=fault, SIZE=16)
    assert found.launches == 1 and found.programs == 3
    return found.problems


@needs_interpreter
def test_a_kernel_without_fault_passes() -> None:
    assert launch("none") == []


@needs_interpreter
@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("no mask on load", "program 2 reads outside of its tensors, 8 times"),
        ("no mask on store", "program 2 writes outside of its tensors, 8 times"),
        ("two write", "writes what another program writes"),
        ("one reads", "another program"),
    ],
)
def test_planted_faults_are_found(fault: str, problem: str) -> None:
    found = launch(fault)
    assert found and all(line.startswith("copy: ") for line in found)
    assert any(problem in line for line in found)
