"""A tabular benchmark: rows, errors and costs of networks; which tables, devices and metrics are loaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import torch
from made_up_tables import ONEHOT, SPACE, TEXTS, costs, errors, make_benchmark, write_tables

from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.nb201.published import PAPER_SEARCH, PAPER_UNSEEN
from modnas_fast.spaces.published import CostTable

needs_tables = pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name the tables")


@pytest.fixture(scope="module")
def known() -> Benchmark:
    return make_benchmark(2, 1, ("latency", "energy"))


def test_rows_errors_and_networks_are_those_of_the_table(known: Benchmark) -> None:
    rows = [7, 3000, 15624, 7]
    onehot = ONEHOT[rows]
    assert known.rows(onehot) == rows
    assert [a.text for a in known.architectures(rows)] == [TEXTS[row] for row in rows]
    assert torch.equal(known.true_errors(onehot), errors()[rows])
    assert [device.name for device in known.search_devices] == ["device 0", "device 1"]


def test_costs_are_normalised_by_each_device_s_reference_networks(known: Benchmark) -> None:
    rows, references = [7, 3000, 15624], [TEXTS.index(text) for text in SPACE.references]
    found = known.normalized_costs(rows)
    assert found.shape == (3, 2, 2) and found.dtype == torch.float32
    for device in range(2):
        for column, metric in enumerate(("latency", "energy")):
            values = costs(device, metric)
            low, high = values[references].min(), values[references].max()
            wanted = ((values[rows] - low) / (high - low)).float()
            torch.testing.assert_close(found[:, device, column], wanted)


def test_fronts_are_normalised_over_networks_that_learned_something(known: Benchmark) -> None:
    assert list(known.fronts) == ["device 0", "device 1", "device 2"]
    kept = (SPACE.viable(ONEHOT) > 0.5).numpy()
    for number, front in enumerate(known.fronts.values()):
        assert np.array_equal(front.kept, kept)
        values = np.stack([errors(), costs(number), costs(number, "energy")], axis=-1)
        low, high = values[kept].min(0), values[kept].max(0)
        np.testing.assert_allclose(front.values, (values - low) / (high - low), atol=1e-12)
    shared = known.known_space()
    assert shared.fronts is known.fronts and shared.architectures == TEXTS and shared.task == "cifar10"


def test_a_network_that_is_not_in_the_table_is_named(known: Benchmark) -> None:
    table = CostTable(TEXTS[:100], {"latency": "ms"}, {"a": torch.ones(100, 1)})
    part = Benchmark(SPACE, "cifar10", table, errors()[:100], errors()[:100] < 89, (), 90.0)
    assert part.rows(ONEHOT[[99]]) == [99]
    with pytest.raises(InputError, match="the table has no measurements of ") as caught:
        part.rows(ONEHOT[[99, 100]])
    assert TEXTS[100] in str(caught.value)


# ---- tables as files ----


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    devices = [*PAPER_SEARCH, *PAPER_UNSEEN, "titan_rtx_1"]
    return write_tables(tmp_path_factory.mktemp("data"), devices)


@pytest.fixture
def tables(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODNAS_DATA", str(home))
    return home


def splits(benchmark: Benchmark) -> dict[str, list[str]]:
    return {s: [d.name for d in benchmark.devices if d.split == s] for s in ("search", "unseen")}


def test_without_names_the_devices_are_the_paper_s(tables: Path) -> None:
    benchmark = load_benchmark("cifar100")
    assert splits(benchmark) == {"search": PAPER_SEARCH, "unseen": PAPER_UNSEEN}
    assert (benchmark.task, benchmark.chance_error) == ("cifar100", 99.0)
    assert torch.equal(benchmark.table.values["1080ti_32"][:, 0], costs(1))
    torch.testing.assert_close(benchmark.errors, errors(), atol=1e-9, rtol=0)


def test_named_devices_leave_no_other_ones(tables: Path) -> None:
    named = splits(load_benchmark(search=["fpga", "titan_rtx_1"]))
    assert named == {"search": ["fpga", "titan_rtx_1"], "unseen": []}
    assert splits(load_benchmark(unseen=["titan_rtx_1"])) == {"search": PAPER_SEARCH, "unseen": ["titan_rtx_1"]}
    boards = load_benchmark(table="hw-nas-bench-360", unseen=["pi5_onnx"])
    assert splits(boards) == {"search": ["pi5_litert"], "unseen": ["pi5_onnx"]}


def test_metrics_are_chosen_by_name(tables: Path) -> None:
    boards = load_benchmark(table="hw-nas-bench-360", metrics=["energy"])
    assert boards.table.metrics == {"energy": "mJ"}
    assert torch.equal(boards.table.values["pi5_onnx"][:, 0], costs(3, "energy"))
    assert len(boards.devices[0].embedding) == 10
    assert load_benchmark(table="hw-nas-bench-360").table.metrics == {"latency": "ms", "energy": "mJ"}


def test_a_table_of_one_s_own_is_brought_into_order(tables: Path, tmp_path: Path) -> None:
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(3))
    columns = {
        "architecture": [TEXTS[i] for i in order],
        "device": ["mine"] * len(TEXTS),
        "latency_ms": costs(4)[order].numpy(),
    }
    file = tmp_path / "own.csv"
    pyarrow.csv.write_csv(pyarrow.table(columns), file)
    benchmark = load_benchmark(table=str(file))
    assert splits(benchmark) == {"search": ["mine"], "unseen": []}
    assert benchmark.table.architectures == TEXTS
    torch.testing.assert_close(benchmark.table.values["mine"][:, 0], costs(4), rtol=1e-12, atol=0)
    pyarrow.csv.write_csv(pyarrow.table(columns).slice(5), file)
    with pytest.raises(InputError, match="wanted all 15625 networks of the space per device, got 15620"):
        load_benchmark(table=str(file))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"task": "mnist"}, "task: wanted one of cifar10, cifar100, imagenet16-120, got 'mnist'"),
        ({"table": "nothing.csv"}, "devices.table: wanted help, hw-nas-bench-360 or a CSV or parquet file"),
        ({"metrics": ["energy"]}, r"metrics: wanted some of latency, got \['energy'\]"),
        ({"metrics": []}, r"metrics: wanted some of latency, got \[\]"),
        ({"search": ["pixel9"]}, "the table has no 'pixel9'"),
        ({"search": ["fpga"], "unseen": ["fpga"]}, "fpga is named twice"),
    ],
)
def test_what_the_tables_do_not_have(tables: Path, arguments: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        load_benchmark(**arguments)


def test_missing_tables_tell_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    with pytest.raises(InputError, match="modnas-fast data fetch nats-bench"):
        load_benchmark()


@needs_tables
def test_networks_are_dropped_by_their_error_on_cifar10_whatever_the_task() -> None:
    for task, chance in (("cifar10", 90.0), ("cifar100", 99.0), ("imagenet16-120", 100 * (1 - 1 / 120))):
        benchmark = load_benchmark(task, search=["pixel3"])
        assert int((~benchmark.kept).sum()) == 341
        assert float(benchmark.errors[~benchmark.kept].median()) == pytest.approx(chance, abs=0.5)
