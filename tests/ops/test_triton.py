"""The Triton kernels of gramian and combine: interpreted on the CPU, compiled to machine code, captured in a graph.

That they compute the right sums is tested with all other implementations, in test_gramian.py.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from machine_code import SPILLED, Compiled, resources
from torch import Tensor

from modnas_fast.mgd import combine, gramian, min_norm
from modnas_fast.runtime import implementations

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
needs_compilation = pytest.mark.skipif(INTERPRETED, reason="TRITON_INTERPRET=1 leaves nothing to compile")


@needs_triton
def test_the_interpreted_kernels_give_the_float64_sums() -> None:
    """In a process of its own, since the interpreter must be asked for before triton is imported."""
    file = Path(__file__).with_name("test_gramian.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", "interpreted", str(file)],
        cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout


def test_nothing_imports_triton_before_it_is_called_for() -> None:
    program = (
        "import sys, torch; from modnas_fast.mgd import gramian; gramian(torch.eye(2)); print('triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Compiled]:
    """Has gramian and combine compile their kernels instead of launching them on tensors of the CPU."""
    from modnas_fast.kernels import combine, gramian, rows

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = {}
    for module, name in (
        (rows, "_store_addresses"),
        (gramian, "_add_products"),
        (gramian, "_add_slots"),
        (combine, "_add_weighted"),
    ):
        kernels[name] = Compiled(getattr(module, name), request.param)
        monkeypatch.setattr(module, name, kernels[name])
    return kernels


@needs_triton
@needs_compilation
@pytest.mark.parametrize(
    ("count", "dtype"),
    [(4, torch.bfloat16), (13, torch.float32), (32, torch.float64), (130, torch.float32)],
    ids=str,
)
def test_kernels_compile_for_data_centre_gpus(compiled: dict[str, Compiled], count: int, dtype: torch.dtype) -> None:
    from modnas_fast.kernels.combine import combine
    from modnas_fast.kernels.gramian import gramian

    matrix = torch.empty(2, count, 4096, dtype=dtype)
    for pieces in ([matrix], [list(matrix[0])], [matrix[..., 1:]]):
        gramian(pieces)
        combine(torch.ones(2, count, dtype=torch.float64), pieces)
    for name, kernel in compiled.items():
        assert len(kernel.found) == (-(-count // 16) * 2 if name == "_store_addresses" else 3)
        for machine_code in kernel.found:
            assert resources(machine_code)["STACK"] <= SPILLED
    for machine_code in compiled["_add_products"].found:
        assert re.search(r"mma\.sync\.aligned\.m\w+\.row\.col\.f64", machine_code.asm["ptx"]), "no tensor cores"
    whole, addressed, unaligned = (code.asm["ptx"] for code in compiled["_add_products"].found)
    if dtype == torch.float32:
        assert "cp.async.cg.shared.global" in whole and "cp.async.cg.shared.global" in addressed
        assert "cp.async.cg.shared.global" not in unaligned


@pytest.mark.parametrize(
    ("capabilities", "version", "compiler", "reason", "remedy"),
    [
        ([], "3.9.0", "gcc", "torch sees no CUDA device", ""),
        ([(9, 0), (7, 5)], "3.9.0", "gcc", "a GPU of compute capability 7.5 is older than 8.0", ""),
        ([(8, 0)], None, "gcc", "Triton is not installed", "pip install triton"),
        ([(8, 0)], "3.4.0", "gcc", "Triton 3.4.0 cannot multiply in float64", "install torch 2.9 or later"),
        (
            [(8, 0)],
            "3.9.0",
            None,
            "Triton finds no C compiler, which it needs on first use",
            "install a C compiler, or set CC",
        ),
        ([(8, 0), (9, 0)], "3.10.0+git1", "clang", None, ""),
    ],
)
def test_triton_serves_cuda_where_it_can(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: list[tuple[int, int]],
    version: str | None,
    compiler: str | None,
    reason: str | None,
    remedy: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: version and object())
    monkeypatch.setitem(sys.modules, "triton", types.SimpleNamespace(__version__=version))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == compiler else None)
    monkeypatch.delenv("CC", raising=False)
    implementations._at_load.cache_clear()
    try:
        choices = [implementations.chosen(op, "cuda") for op in ("gramian", "combine", "mixed_cell")]
    finally:
        implementations._at_load.cache_clear()
    for choice in choices:
        assert choice.name == ("triton" if reason is None else "reference")
        assert reason is None or (choice.reason, choice.remedy) == (reason, remedy)


def needs_all_on_cuda() -> None:
    for op, name in (("gramian", "triton"), ("min_norm", "cuda"), ("combine", "triton")):
        choice = implementations.chosen(op, "cuda")
        if choice.name != name:
            pytest.skip(f"{op} on cuda: {choice.reason}")


@pytest.mark.parametrize("form", ["matrix", "parameters", "devices"])
def test_a_captured_step_follows_its_inputs(form: str) -> None:
    needs_all_on_cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    matrix = torch.randn(13, 4097, generator=generator, device="cuda")
    gradients = {"matrix": matrix, "parameters": [matrix], "devices": [[row] for row in matrix]}[form]

    def step() -> list[Tensor]:
        gram = gramian(gradients)
        point = min_norm(gram)
        update = combine(point.weights, gradients)
        return [gram, point.weights, update if form == "matrix" else update[0]]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # a kernel's first launch loads it, which cannot be captured
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for _ in range(3):
        matrix.copy_(torch.randn(matrix.shape, generator=generator, device="cuda"))
        graph.replay()
        assert all(map(torch.equal, captured, step()))
