"""A kit beside direct measurements: what is compared, and what counts of a script's lines."""

from __future__ import annotations

import pytest

from modnas_fast.bench import kit


def line(number: int, network: str, ms: float, disturbed: bool = False) -> dict[str, object]:
    return {"round": number, "network": network, "ms": ms, "disturbed": disturbed}


def test_disturbed_rounds_count_where_there_are_no_others() -> None:
    lines = [
        line(0, "000.onnx", 1.0),
        line(1, "000.onnx", 3.0),
        line(2, "000.onnx", 9.0, True),
        line(0, "001.onnx", 5.0),
    ]
    assert kit.medians_of(lines) == ({"000": 2.0, "001": 5.0}, 0.25)
    assert kit.medians_of(lines[2:3]) == ({"000": 9.0}, 1.0)


def test_what_all_have_in_common_is_told_apart() -> None:
    direct = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0, "e": 10.0}
    told = kit.compared({name: 1.2 * value * (1.1 if name == "e" else 1) for name, value in direct.items()}, direct)
    assert told == {"deviation": pytest.approx(0.2), "factor": pytest.approx(1.2), "beside": pytest.approx(0, abs=1e-9)}
