"""Freed memory is kept: no page of it is asked for twice. In a process of its own, which it changes for good."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# blocks of 48 MB, which glibc takes from the system and gives back each time unless told otherwise
PROGRAM = """
import resource, sys, torch
from modnas_fast.runtime.allocator import keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
def fill():
    return [torch.ones(12_000_000) for _ in range(3)]
for _ in range(3):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_come_once() -> None:
    faults = [
        int(subprocess.run([sys.executable, "-c", PROGRAM, *way], capture_output=True, text=True, check=True).stdout)
        for way in ((), ("keep",))
    ]
    assert faults[1] < 0.75 * faults[0]
