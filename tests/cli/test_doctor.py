"""doctor: what it says is what is there."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys

import pytest
import torch
from rich.console import Console

from modnas_fast.cli import diagnosis as doctor
from modnas_fast.runtime import implementations


def rendered(diagnosis: doctor.Diagnosis) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(doctor.render(diagnosis))
    return console.export_text()


def test_it_names_versions_and_every_operation() -> None:
    diagnosis = doctor.diagnose()
    assert diagnosis.packages["torch"] == importlib.metadata.version("torch")
    assert diagnosis.torch_threads == torch.get_num_threads()
    assert diagnosis.cpu and diagnosis.logical_cores >= 1
    rows = {(row.op, row.device_kind) for row in diagnosis.operations}
    assert rows == {(op, kind) for op in implementations.operations() for kind in implementations.DEVICE_KINDS}
    for row in diagnosis.operations:
        choice = implementations.chosen(row.op, row.device_kind)
        assert (row.implementation, row.reason) == (choice.name, choice.reason)


def test_it_knows_how_the_core_was_built() -> None:
    core = implementations.core()
    if core is None:
        pytest.skip("the compiled core was not built")
    diagnosis = doctor.diagnose()
    assert diagnosis.compiler == core.build_info()["compiler"]
    assert (diagnosis.core_cuda is None) == (core.build_info()["cuda_runtime"] is None)


def test_without_a_gpu_it_says_so_and_asks_for_nothing() -> None:
    if torch.cuda.device_count() or doctor._driver():
        pytest.skip("this machine has a GPU driver")
    diagnosis = doctor.diagnose()
    assert diagnosis.gpus == [] and diagnosis.driver_cuda is None
    assert all(row.implementation == "reference" for row in diagnosis.operations if row.device_kind == "cuda")
    assert not any("cuda" in part.what for part in diagnosis.missing)


def test_it_renders_and_converts_to_json() -> None:
    diagnosis = doctor.diagnose()
    text = rendered(diagnosis)
    assert "min_norm" in text and diagnosis.cpu in text and diagnosis.operations[0].reason in text
    assert json.loads(json.dumps(diagnosis.to_dict())) == diagnosis.to_dict()


def test_what_is_missing_comes_with_its_remedy() -> None:
    program = "from modnas_fast.cli import diagnosis as doctor; print(doctor.diagnose().missing)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "MODNAS_FAST_IMPL": "reference"},
    )  # fmt: skip
    assert "remedy='unset MODNAS_FAST_IMPL'" in done.stdout


@pytest.mark.skipif(implementations.core() is None, reason="the compiled core was not built")
def test_a_core_of_other_sources_is_not_used_and_comes_with_its_remedy() -> None:
    program = (
        "import modnas_fast._C as core; core.INTERFACE -= 1; import torch; "
        "from modnas_fast.cli import diagnosis as doctor; from modnas_fast import min_norm; "
        "print(min_norm(torch.eye(3)).weights, doctor.diagnose().missing)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "0.3333" in done.stdout and "built from other sources" in done.stdout
    assert "build it again: pip install --editable ." in done.stdout


def test_a_core_that_was_not_built_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = implementations._Core(
        None, implementations.Availability(False, "the compiled core was not built", "reinstall")
    )
    monkeypatch.setattr(implementations, "_load_core", lambda: absent)
    implementations._at_load.cache_clear()
    implementations._compiled_on_cuda.cache_clear()
    try:
        diagnosis = doctor.diagnose()
    finally:
        monkeypatch.undo()
        implementations._at_load.cache_clear()
        implementations._compiled_on_cuda.cache_clear()
    assert diagnosis.compiler is None
    assert doctor.Missing("min_norm on cpu: the compiled core was not built", "reinstall") in diagnosis.missing
    text = rendered(diagnosis)
    assert "not built" in text and "reinstall" in text
