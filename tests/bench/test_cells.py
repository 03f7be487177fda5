"""The benchmarks of the supernets' operations, on tiny sizes: they check, measure and write what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from modnas_fast.bench import entangled_linear, mixed_cell
from modnas_fast.runtime.errors import InputError


@pytest.fixture(autouse=True)
def threads_kept() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_mixed_cell_prints_a_line_per_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mixed_cell, "STAGES", ((2, 4), (4, 3)))
    monkeypatch.setattr("modnas_fast.bench.runner.COPIED", 1000)
    file = tmp_path / "cell.json"
    mixed_cell.main(["--devices", "2", "--batch", "3", "--rounds", "1", "--threads", "1", "--json", str(file)])
    content = json.loads(file.read_text())
    assert content["op"] == "mixed_cell" and content["implementation"] == "composed"
    assert [(row["C"], row["kind"]) for row in content["results"]] == [(c, k) for c in (2, 4) for k in mixed_cell.KINDS]
    for row in content["results"]:
        assert row["step"]["ratio"]["plain"] == row["step"]["seconds"]["plain"] / row["step"]["seconds"]["ours"]
    assert capsys.readouterr().out.count("path, by samples") == 4


def test_wrong_cells_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = mixed_cell.mixed_cell
    monkeypatch.setattr(
        mixed_cell, "forward", lambda p, kind: 1.01 * right(*p[:5], single_path=kind.startswith("path"))
    )
    with pytest.raises(RuntimeError, match="mixed_cell, path, by weights: off by .*; run the tests first"):
        mixed_cell.main(["--devices", "2", "--threads", "1"])


def test_entangled_linear_prints_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entangled_linear, "LAYERS", ((64, 128),))
    monkeypatch.setattr(entangled_linear, "ROWS", 5)
    file = tmp_path / "linear.json"
    entangled_linear.main(["--quick", "--threads", "1", "--json", str(file)])
    content = json.loads(file.read_text())
    assert content["op"] == "entangled_linear" and content["rows"] == 5
    assert [(row["T"], row["shared"]) for row in content["results"]] == [(1, False), (13, False), (13, True)]
    assert "T = 13, K = 64, N = 128, own x" in capsys.readouterr().out


@pytest.mark.parametrize("module", [mixed_cell, entangled_linear])
def test_bad_options_are_told_in_one_line(module: ModuleType) -> None:
    with pytest.raises(InputError, match="--threads: wanted a whole number"):
        module.main(["--threads", "0"])
