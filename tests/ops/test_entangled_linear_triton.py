"""The Triton kernels of entangled_linear: interpreted on the CPU, and compiled to machine code.

That they compute the right numbers is tested with all other implementations, in test_entangled_linear.py.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from machine_code import SPILLED, Compiled, resources
from torch import Tensor

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

KERNELS = ("_products_of_tiles", "_weight_gradient")
#: bytes of shared memory that a program may have, by compute capability
SHARED = {80: 163 << 10, 90: 227 << 10}
#: The two half formats differ in the names of instructions only; each is compiled for one generation, for the time.
HALF = {80: torch.float16, 90: torch.bfloat16}


def test_the_interpreted_kernels_compute_the_layer() -> None:
    """In a process of its own, since the interpreter must be asked for before triton is imported."""
    file = Path(__file__).with_name("test_entangled_linear.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", "interpreted", str(file)],
        cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout


def parts(form: str, count: int, size: int, dtype: torch.dtype) -> Tensor | None:
    if form == "mask":
        return torch.ones(count, size, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    return torch.full((count,), size)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 leaves nothing to compile")
@pytest.mark.parametrize("form", ["widths", "mask"])
@pytest.mark.parametrize("size", [2, 4, 8], ids=lambda size: f"{size} bytes")
@pytest.mark.parametrize("capability", [80, 90], ids=["sm_80", "sm_90"])
def test_kernels_compile_for_data_centre_gpus(
    capability: int, size: int, form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each row of the tables that tells how products are cut, without launching."""
    from modnas_fast.kernels import entangled_linear as kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = {name: Compiled(getattr(kernels, name), capability) for name in KERNELS}
    for name, kernel in compiled.items():
        monkeypatch.setattr(kernels, name, kernel)
    dtype, masked = {2: HALF[capability], 4: torch.float32, 8: torch.float64}[size], form == "mask"
    candidates = kernels.PRODUCT[size, masked]
    for tiles, count in zip(candidates, (13, 1), strict=False):  # many tiles, then few
        x, dy = torch.empty(count, 1000, 1280, dtype=dtype), torch.empty(count, 1000, 640, dtype=dtype)
        weight, bias = torch.empty(640, 1280, dtype=dtype), torch.empty(640, dtype=dtype)
        inputs, outputs = parts(form, count, 1280, dtype), parts(form, count, 640, dtype)
        assert kernels._tiles(x, masked, count, 1000, 640)[0] == tiles
        kernels.entangled_linear(x, weight, bias, inputs, outputs)
        needed = (True, count == 13, False, masked and count == 13, masked and count == 13)
        kernels.gradients(dy, x, weight, bias, inputs, outputs, needed)
    assert [len(kernel.found) for kernel in compiled.values()] == [2 * len(candidates), 1]
    for name, kernel in compiled.items():
        for machine_code in kernel.found:
            assert resources(machine_code)["STACK"] <= SPILLED, name
            assert machine_code.metadata.shared <= SHARED[capability], name
            text = machine_code.asm["ptx"]
            assert "cp.async" in text, f"{name} waits for memory"
            cores = {(90, 2): "wgmma", (80, 2): "mma.sync", (80, 8): "mma.sync", (90, 8): "mma.sync"}
            assert cores.get((capability, size), "fma.rn.f32") in text, f"{name} does not use the tensor cores"
