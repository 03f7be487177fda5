"""The Triton kernels of entangled_norm: interpreted on the CPU, and compiled to machine code.

That they compute the right numbers is tested with all other implementations, in test_entangled_norm.py.
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

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

KERNELS = ("_normalise", "_differentiate")


def test_the_interpreted_kernels_compute_the_norm() -> None:
    """In a process of its own, since the interpreter must be asked for before triton is imported."""
    file = Path(__file__).with_name("test_entangled_norm.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", "interpreted", str(file)],
        cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 leaves nothing to compile")
@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.bfloat16, 1280), (torch.float32, 768), (torch.float64, 96)], ids=str
)
@pytest.mark.parametrize("capability", [80, 90], ids=["sm_80", "sm_90"])
def test_kernels_compile_for_data_centre_gpus(
    capability: int, dtype: torch.dtype, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from modnas_fast.kernels import entangled_norm as kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = {name: Compiled(getattr(kernels, name), capability) for name in KERNELS}
    for name, kernel in compiled.items():
        monkeypatch.setattr(kernels, name, kernel)
    x, weight, mask = torch.empty(8, 1024, size, dtype=dtype), torch.empty(size, dtype=dtype), torch.ones(8, size)
    mask = mask.to(dtype)
    _, mean, scale = kernels.entangled_norm(x, weight, weight, mask, 1e-5)
    kernels.gradients(x, x, weight, weight, mask, mean, scale, 1e-5)
    for name, kernel in compiled.items():
        (machine_code,) = kernel.found
        assert resources(machine_code)["STACK"] <= SPILLED, name
