"""The Triton kernels of elastic_depthwise and norm_activation: interpreted on the CPU, and compiled to machine code.

That they compute the right numbers is tested with all other implementations, in test_elastic_depthwise.py.
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

KERNELS = ("_convolve", "_moments", "_normalise", "_gradient_sums", "_gradient", "_differentiate_input",
           "_differentiate_taps")  # fmt: skip


def test_the_interpreted_kernels_compute_the_block() -> None:
    """In a process of its own, since the interpreter must be asked for before triton is imported."""
    file = Path(__file__).with_name("test_elastic_depthwise.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", "interpreted", str(file)],
        cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 leaves nothing to compile")
@pytest.mark.parametrize(("dtype", "kernel", "stride"), [(torch.float32, 7, 2), (torch.float64, 3, 1)], ids=str)
@pytest.mark.parametrize("capability", [80, 90], ids=["sm_80", "sm_90"])
def test_kernels_compile_for_data_centre_gpus(
    capability: int, dtype: torch.dtype, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from modnas_fast.kernels import elastic_depthwise as kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = {name: Compiled(getattr(kernels, name), capability) for name in KERNELS}
    for name, found in compiled.items():
        monkeypatch.setattr(kernels, name, found)
    x = torch.empty(2, 96, 24, 24, dtype=dtype).contiguous(memory_format=torch.channels_last)
    taps, channel = torch.empty(96, kernel, kernel, dtype=dtype), torch.ones(96, dtype=dtype)
    block = kernels.forward(x, taps, stride, channel, channel, "hswish", 1e-5, None, None)
    kernels.backward(block.y, block.saved, (stride, "hswish", 1e-5, False), True, True)
    for name, launched in compiled.items():
        (machine_code,) = launched.found
        assert resources(machine_code)["STACK"] <= SPILLED, name
