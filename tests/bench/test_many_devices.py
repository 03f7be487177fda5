"""The benchmark of many devices: what virtual ones are, and a tiny search of some."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from modnas_fast.bench.many_devices import MEDIANS, main, mixtures, write_table
from modnas_fast.devices.table import load_cost_file
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space


def test_devices_lie_between_the_settings_that_they_mix() -> None:
    generator = torch.Generator().manual_seed(0)
    real = 1 + torch.rand(5, 101, generator=generator)
    found = mixtures(real, 200, generator)
    units = real / real.median(dim=1, keepdim=True).values
    speeds = found.sum(dim=1, keepdim=True) / units.sum(dim=1).mean()
    assert found.shape == (200, 101) and bool((found > 0).all())
    assert float(speeds.min()) > 0.8 * MEDIANS[0] and float(speeds.max()) < 1.2 * MEDIANS[1]
    weights = torch.linalg.lstsq(units.T.double(), found.T.double()).solution.T
    shares = weights / weights.sum(dim=1, keepdim=True)
    assert bool((shares > -1e-4).all()) and int((shares > 1e-4).sum(dim=1).max()) == 3
    assert len({tuple(row.round(decimals=3).tolist()) for row in shares}) == 200


def test_the_table_is_read_as_one_of_ones_own(tmp_path: Path) -> None:
    space = NB201Space()
    texts = [a.text for a in space.decode(space.candidates(space.num_architectures))][:40]
    texts = list(dict.fromkeys([*space.references, *texts]))
    latencies = 1 + torch.rand(3, len(texts), generator=torch.Generator().manual_seed(1))
    write_table(tmp_path / "own.parquet", texts, latencies)
    table = load_cost_file(tmp_path / "own.parquet", space)
    assert list(table.values) == ["virtual_0000", "virtual_0001", "virtual_0002"]
    place = table.architectures.index(texts[7])
    assert float(table.values["virtual_0002"][place, 0]) == pytest.approx(float(latencies[2, 7]))


def test_a_folder_that_is_there_is_not_written_into(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--keep: .* is there already; name a new folder"):
        main(["--keep", str(tmp_path)])


@pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name HELP's tables")
def test_a_few_devices_are_searched_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, before = tmp_path / "many.json", torch.get_num_threads()
    given = ["--quick", "--devices", "3", "--per-step", "2", "--threads", "1", "--json", str(file)]
    try:
        main([*given, "--keep", str(tmp_path / "kept")])
    finally:
        torch.set_num_threads(before)
    rows = json.loads(file.read_text(encoding="utf-8"))["results"]
    (row,) = rows
    assert row["per_step"] == 2 and row["devices"] == 3
    assert 0.5 < row["worst_ratio"] <= row["mean_ratio"] <= 1 and row["report_bytes"] > 10_000
    assert 0 < row["search_s"] < row["whole_s"]
    assert (tmp_path / "kept" / "per-step-2" / "report.html").exists()
    assert "3 devices of 15,625 networks" in capsys.readouterr().out
