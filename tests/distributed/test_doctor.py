"""`doctor --distributed`: what ranks find of each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

pytest.importorskip("torch.distributed")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

from modnas_fast.runtime.exchange import MESSAGES, Sum, _faults


def test_two_ranks_tell_of_themselves_and_time_their_sums() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*command, "-m", "modnas_fast", "doctor", "--distributed", "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = json.loads(ended.stdout[ended.stdout.index("{") : ended.stdout.rindex("}") + 1])
    assert [each["rank"] for each in found["ranks"]] == [0, 1] and found["backend"] == "gloo"
    assert [each["bytes"] for each in found["sums"]] == list(MESSAGES)
    assert all(0 < each["seconds"] < 60 for each in found["sums"])
    assert ended.returncode == 0 and isinstance(found["faults"], list)


def rank(**changes: Any) -> dict[str, Any]:
    versions = {"modnas-fast": "0.1.0", "torch": "2.13.0"}
    return {"host": "a", "device": "cpu", "gpu": None, "threads": 1, "cores": 2, "versions": versions, **changes}


OTHERS = {"modnas-fast": "0.1.0", "torch": "2.12"}
QUICK, SLOW = [Sum(25_000_000, 0.01)], [Sum(25_000_000, 1.0)]


@pytest.mark.parametrize(
    ("ranks", "sums", "told"),
    [
        ([rank(), rank()], QUICK, None),
        ([rank()], SLOW, None),
        ([rank(), rank()], SLOW, "sums run at 25 MB/s"),
        ([rank(threads=2), rank(threads=2)], QUICK, "a: 2 ranks take 4 threads on 2 cores; set OMP_NUM_THREADS=1"),
        (
            [rank(), rank(host="b", versions={"modnas-fast": "0.1.0", "torch": "2.12"})],
            QUICK,
            "torch differs: 2.13.0 on a",
        ),
        ([rank(gpu="x", device="cuda:0"), rank(gpu="x", device="cuda:0")], QUICK, "1 GPUs have two ranks"),
    ],
)
def test_what_would_slow_or_break_a_search_is_told(
    ranks: list[dict[str, Any]], sums: list[Sum], told: str | None
) -> None:
    found = _faults(ranks, sums)
    assert len(found) == (told is not None) and (told is None or told in found[0])
