"""`modnas-fast pick --confidence`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modnas_fast import Result


def test_a_predicted_cost_is_bounded_by_held_out_networks(command: Any, run: Path) -> None:
    result = Result.load(run)
    device = next(iter(result.devices))
    arguments = ("pick", run, "--device", device, "--confidence", "0.8")
    ended = command(*arguments, "--max", "latency_ms=1e6", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["architecture"] == result.pick(device, max={"latency_ms": 1e6}).text and found["confidence"] == 0.8
    pairs = json.loads((run / "predictor.json").read_text())["devices"][device]["costs"]["latency_ms"]
    ratios = sorted(known / told for known, told in zip(pairs["measured"], pairs["predicted"], strict=True))
    factor = ratios[-(-(len(ratios) + 1) * 4 // 5) - 1]  # ceil of 0.8 (n + 1)
    predicted = [pick for pick in result.top(device, max={"latency_ms": 1e6}, count=10_000)
                 if pick.costs["latency_ms"].source == "predicted"]  # fmt: skip
    least = min(pick.costs["latency_ms"].value * factor for pick in predicted)
    assert found["held_out"] == {"latency_ms": {"networks": len(ratios), "factor": pytest.approx(factor)}}
    if found["sources"]["latency_ms"] == "predicted":
        assert found["bounds"]["latency_ms"] == pytest.approx(found["latency_ms"] * factor)
    known = [pick.costs["latency_ms"].value for pick in result.top(device, max={"latency_ms": 1e6}, count=10_000)
             if pick.costs["latency_ms"].source != "predicted"]  # fmt: skip
    budget = 0.999 * min([least, *known])
    refused = command(*arguments, "--max", f"latency_ms={budget}")
    assert refused.code == 2 and "--max: no evaluated network" in refused.err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--max", "latency_ms=1e6", "--confidence", "0.999"),
            "--confidence: 0.999 wants at least 999 held-out",
        ),
        (("--max", "latency_ms=1e6", "--confidence", "90"), "--confidence: wanted a number between 0 and 1"),
        (("--preference", "1,1", "--confidence", "0.9"), "--confidence: goes with --device and --max"),
    ],
)
def test_bad_input(command: Any, run: Path, arguments: tuple[str, ...], message: str) -> None:
    device = next(iter(Result.load(run).devices))
    ended = command("pick", run, "--device", device, *arguments)
    assert ended.code == 2 and message in ended.err
