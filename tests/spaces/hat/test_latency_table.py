"""HAT's files of latencies: what is read of them, what is left out, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hat_tables import averages, latency_file, times

from modnas_fast.datasets.home import locate
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.latency_table import read_latencies
from modnas_fast.spaces.hat.space import HATSpace

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files to compare")
ROWS = averages(HATSpace("space1"), 300, seed=0)
TIMES = times(ROWS, 0)


def write(folder: Path, name: str, measured: torch.Tensor) -> Path:
    file = folder / f"{name}_all.csv"
    file.write_text(latency_file(ROWS, measured))
    return file


def test_a_quiet_file_is_read_whole(tmp_path: Path) -> None:
    found = read_latencies(write(tmp_path, "wmt14ende_cpu_xeon", TIMES))
    assert torch.equal(found.averages, ROWS) and torch.equal(found.latency_ms, TIMES.sum(1))
    assert (found.numbers, found.left_out) == (list(range(300)), "")


def test_rows_measured_while_a_device_was_slow_are_left_out(tmp_path: Path) -> None:
    slowed = TIMES.clone()
    slowed[120:180] *= 1.25
    slowed[250] *= 1.5  # one measurement alone is noise, not a slow device
    found = read_latencies(write(tmp_path, "wmt14ende_gpu_titanxp", slowed))
    assert found.numbers == [*range(120), *range(180, 300)]
    assert found.left_out == "60 rows measured while it was slow"


def test_the_start_of_the_raspberry_pi_is_left_out(tmp_path: Path) -> None:
    started = TIMES.clone()
    started[200, 0] = 700.0
    found = read_latencies(write(tmp_path, "wmt14ende_cpu_raspberrypi", started))
    assert found.numbers == [row for row in range(145, 300) if row != 200]
    assert found.left_out == "146 rows of its start"
    assert read_latencies(write(tmp_path, "wmt14enfr_cpu_raspberrypi", TIMES)).left_out == "", "of En-De alone"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "no column 'encoder_embed_dim'"),
        (latency_file(ROWS[:20], TIMES[:20]).replace("6.0", "six", 1), "could not convert string to float: 'six'"),
        (latency_file(ROWS[:3], TIMES[:3]), "wanted at least 15 rows of positive numbers"),
        (latency_file(ROWS[:20], -TIMES[:20]), "wanted at least 15 rows of positive numbers"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "wmt14ende_cpu_xeon_all.csv"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_latencies(file)
    assert str(caught.value) == (
        f"{file} is no table of HAT's latencies ({reason}); delete it and use: modnas-fast data fetch hat"
    )


@needs_data
@pytest.mark.parametrize(
    ("device", "count", "left_out"),
    [
        ("cpu_xeon", 1984, "16 rows measured while it was slow"),
        ("gpu_titanxp", 1750, "250 rows measured while it was slow"),
        ("cpu_raspberrypi", 1852, "148 rows of its start"),
    ],
)
def test_what_of_the_published_files_counts(device: str, count: int, left_out: str) -> None:
    found = read_latencies(locate(f"hat/latency_dataset/wmt14ende_{device}_all.csv"))
    assert (len(found.numbers), found.left_out) == (count, left_out)
    if device == "gpu_titanxp":
        kept = set(found.numbers)
        assert not kept & set(range(1265, 1498)) and set(range(40, 1260)) <= kept, "a stretch of a quarter slower"
