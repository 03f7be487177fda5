"""The benchmarks of the supernets' operations, on tiny sizes: they check, measure and write what they say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

from modnas_fast.bench import entangled_linear, gpu_time, mixed_cell
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


@pytest.fixture
def tiny_cells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a run on tiny cells."""
    monkeypatch.setattr(mixed_cell, "STAGES", ((2, 4),))
    monkeypatch.setattr("modnas_fast.bench.runner.COPIED", 1000)
    return ["--devices", "2", "--batch", "3", "--rounds", "1", "--threads", "1"]


def test_cells_that_memory_does_not_suffice_for_are_left_out(
    tiny_cells: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mixed_cell, "bytes_of_plain", lambda kind, p, stage: len(p.sample) * 10**9)
    monkeypatch.setattr(mixed_cell, "free_memory", lambda device: 2 * 10**9)
    file = tmp_path / "cell.json"
    mixed_cell.main([*tiny_cells, "--compile", "--json", str(file)])
    for row in json.loads(file.read_text())["results"]:
        assert set(row["step"]["seconds"]) == {"ours"} and row["step"]["ratio"] == {}
        assert row["skipped"]["plain"] == row["skipped"]["compiled"]
    assert "plain left out, it would take about 2 GB of memory, 2 GB are free" in capsys.readouterr().out


def test_memory_of_the_plain_cell_is_foretold_by_one_device() -> None:
    p = mixed_cell.problem("mixture, by both", 4, 64, 0, torch.float32, "cpu")
    kept = 5 * p.x.numel() * p.x.element_size()  # of its dozens of sets of images
    assert kept < mixed_cell.bytes_of_plain("mixture, by both", p, 0) < 100 * kept


def test_compiling_is_asked_for_and_bounded(tiny_cells: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def compiled(function: Callable[..., Tensor], **_: object) -> Callable[..., Tensor]:
        asked.append("compile")
        return function

    def never_done(*_: object) -> Tensor:
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(torch, "compile", compiled)
    mixed_cell.main(tiny_cells)
    assert not asked
    p = mixed_cell.problem("path, by weights", 2, 3, 0, torch.float32, "cpu")
    row = mixed_cell.measure("path, by weights", p, 0, 1, 1.0, 60)
    assert set(row["step"]["ratio"]) == {"plain", "compiled"} and row["skipped"] == {}
    monkeypatch.setattr(torch, "compile", lambda function, **_: never_done)
    row = mixed_cell.measure("path, by weights", p, 0, 1, 1.0, 0.05)
    assert row["skipped"] == {"compiled": "was not compiled within 50 ms"} and "compiled" not in row["step"]["ratio"]


class StandInClock:
    """In place of torch.cuda's streams, graphs and events: time passes where graphs are replayed, and nowhere else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self.replays, self.capturing = 0.0, 0, False
        clock = self

        class Graph:
            def replay(self) -> None:
                clock.replays += 1
                clock.seconds += 0.008

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = clock.seconds

            def synchronize(self) -> None:
                pass

            def elapsed_time(self, other: Event) -> float:
                return 1e3 * (other.at - self.at)

        @contextmanager
        def capture(graph: Graph) -> Iterator[None]:
            clock.capturing = True
            yield
            clock.capturing = False

        stream = SimpleNamespace(wait_stream=lambda other: None)
        for name, stand_in in {
            "CUDAGraph": Graph, "graph": capture, "Event": Event, "Stream": lambda: stream,
            "current_stream": lambda: stream, "stream": lambda _: nullcontext(),
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, stand_in)


def test_on_a_gpu_replays_are_timed_and_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = StandInClock(monkeypatch), []

    def call(name: str) -> None:
        calls.append((name, clock.capturing))
        clock.seconds += 1.0  # what an eager call costs

    found = mixed_cell.times_of({name: partial(call, name) for name in ("ours", "plain")}, 3, "cuda")
    assert found == {name: pytest.approx(0.008) for name in ("ours", "plain")}
    captured = [name for name, capturing in calls if capturing]
    assert captured == ["ours", "plain"] and len(calls) == 2 * (1 + gpu_time.WARM_CALLS)
    assert clock.replays == 2 * (1 + 3 * 3), "turns of 20 ms"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device to time")
def test_a_gpu_takes_longer_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (torch.ones(count, device="cuda") for count in (1 << 10, 1 << 28))
    found = gpu_time.gpu_medians({"small": small.clone, "large": large.clone}, 3)
    assert 0 < found["small"] < found["large"]


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
