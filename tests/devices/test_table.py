"""Tables of measurements: which networks and devices they hold, and what is refused."""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from modnas_fast.devices import Device
from modnas_fast.devices.table import devices_of, load_cost_file
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.error_table import load_nats_bench
from modnas_fast.spaces.nb201.published import PAPER_SEARCH, PAPER_UNSEEN, load_help, load_hw_nas_bench_360
from modnas_fast.spaces.published import CostTable

SPACE = NB201Space()
OTHERS = tuple(SPACE.architecture([i, 0, 0, 3, 0, 0]).text for i in range(3))
TEXTS = (*OTHERS, *SPACE.references)
DATA = os.environ.get("MODNAS_DATA")
needs_tables = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA does not name the tables")


def values(seed: int, metrics: int = 1, count: int = len(TEXTS)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1 + torch.rand(count, metrics, generator=generator, dtype=torch.float64)


def make_table() -> CostTable:
    metrics = {"latency": "ms", "energy": "mJ"}
    return CostTable(TEXTS, metrics, {name: values(k, 2) for k, name in enumerate(("phone", "board", "server"))})


# ---- devices of a table ----


def test_devices_are_embedded_by_the_reference_networks_alone() -> None:
    table = make_table()
    devices = devices_of(table, SPACE, ["server", "phone"], ["board"])
    assert [(d.name, d.split) for d in devices] == [("server", "search"), ("phone", "search"), ("board", "unseen")]
    for device in devices:
        references = table.values[device.name][3:]
        latency, energy = references.unbind(-1)
        wanted = [*((latency - latency.min()) / (latency.max() - latency.min())).tolist()]
        wanted += ((energy - energy.min()) / (energy.max() - energy.min())).tolist()
        assert device.embedding == pytest.approx(wanted, abs=1e-12)
        assert device.metrics == {"latency": "ms", "energy": "mJ"}
        assert device.ranges["energy"] == (float(energy.min()), float(energy.max()))


@pytest.mark.parametrize(
    ("search", "unseen", "text"),
    [
        (["tablet"], [], "the table has no 'tablet'; it has phone, board, server"),
        (["phone"], ["tablet"], "the table has no 'tablet'"),
        (["phone", "phone"], [], "phone is named twice"),
        (["phone"], ["phone"], "phone is named twice; a device is searched or unseen"),
        ([], ["phone"], "at least one device must be searched"),
    ],
)
def test_names_that_do_not_fit(search: list[str], unseen: list[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        devices_of(make_table(), SPACE, search, unseen)


def test_a_table_without_a_reference_network_embeds_no_device() -> None:
    table = CostTable(TEXTS[:-1], {"latency": "ms"}, {"phone": values(0)[:-1]})
    with pytest.raises(InputError, match=r"no measurements of \|nor_conv_3x3~0\|\+\|nor_conv_3x3~0\|nor_conv"):
        devices_of(table, SPACE, ["phone"], [])


def test_rows_are_those_of_the_strings() -> None:
    table = make_table()
    assert table.rows([TEXTS[5], TEXTS[0], TEXTS[5]]).tolist() == [5, 0, 5]
    assert table.rows([]).tolist() == []


# ---- HELP's lists ----


def test_help_s_lists_are_columns_by_file_name(tmp_path: Path) -> None:
    for name, seed in (("pixel3", 1), ("fpga", 2)):
        torch.save(values(seed)[:, 0].tolist(), tmp_path / f"{name}.pt")
    table = load_help(tmp_path, TEXTS)
    assert (list(table.values), table.architectures, table.metrics) == (["fpga", "pixel3"], TEXTS, {"latency": "ms"})
    assert torch.equal(table.values["pixel3"], values(1)) and table.values["fpga"].dtype == torch.float64


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (values(0)[1:, 0].tolist(), r"pixel3.pt: wanted 13 positive latencies, got a tensor of shape \[12\]"),
        ([0.0] + [1.0] * 12, "wanted 13 positive latencies"),
        ([float("nan")] + [1.0] * 12, "wanted 13 positive latencies"),
        ([float("inf")] + [1.0] * 12, "wanted 13 positive latencies"),
        ([[1.0]] * 13, "wanted 13 positive latencies"),
        ({"latency": 3}, "is no list of latencies"),
        (["fast"] * 13, "is no list of latencies"),
    ],
)
def test_other_content_than_positive_latencies(tmp_path: Path, content: object, text: str) -> None:
    torch.save(content, tmp_path / "pixel3.pt")
    with pytest.raises(InputError, match=text) as caught:
        load_help(tmp_path, TEXTS)
    assert "\n" not in str(caught.value)


class Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "pixel3.pt").write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    with pytest.raises(InputError, match="is no list of latencies"):
        load_help(tmp_path, TEXTS)
    assert not sprung.exists()


def test_a_folder_without_lists_tells_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="modnas-fast data fetch help-latency"):
        load_help(tmp_path, TEXTS)


# ---- boards with latency and energy ----


def board(name: str, framework: str, rows: Sequence[int] = range(len(TEXTS)), **changes: object) -> pa.Table:
    measured = values(len(framework), 2)[list(rows)]
    columns = {
        "device": pa.array([name] * len(rows)).dictionary_encode(),
        "framework": pa.array([framework] * len(rows)).dictionary_encode(),
        "task": ["cifar100"] * len(rows),
        "status": ["ok"] * len(rows),
        "arch_idx": list(rows),
        "lat_ms_median": measured[:, 0].numpy(),
        "energy_mj": measured[:, 1].numpy(),
    }
    return pa.table({**columns, **changes})


def test_complete_boards_are_sorted_and_others_left_out(tmp_path: Path) -> None:
    file, count = tmp_path / "dataset.parquet", len(TEXTS)
    parts = [
        board("pi5", "onnx", [*reversed(range(count))]),
        board("pi5", "litert"),
        board("pi5", "litert", task=["darcy"] * count, energy_mj=[9.0] * count),
        board("pixel", "litert", energy_mj=pa.array([None] * count, pa.float64())),
        board("pi4", "onnx", range(count - 1)),
        board("pi3", "onnx", status=["ok"] * (count - 1) + ["failed"]),
    ]
    pq.write_table(pa.concat_tables(parts, promote_options="permissive"), file)
    table = load_hw_nas_bench_360(file, TEXTS)
    assert table.metrics == {"latency": "ms", "energy": "mJ"} and list(table.values) == ["pi5_litert", "pi5_onnx"]
    assert torch.equal(table.values["pi5_onnx"], values(4, 2))
    assert torch.equal(table.values["pi5_litert"], values(6, 2))
    assert table.values["pi5_onnx"].dtype == torch.float64
    assert load_hw_nas_bench_360(file, TEXTS, "darcy").values["pi5_litert"][:, 1].tolist() == [9.0] * count
    with pytest.raises(InputError, match="no measurements for task 'mnist'; it has cifar100, darcy and ninapro"):
        load_hw_nas_bench_360(file, TEXTS, "mnist")


# ---- tables of one's own ----


def own_rows(devices: Sequence[str] = ("a", "b")) -> list[dict[str, object]]:
    return [
        {
            "energy_mj": 5.0 + row,
            "architecture": text,
            "note": "x",
            "device": name,
            "latency_us": 100.0 * (row + k + 1),
        }
        for k, name in enumerate(devices)
        for row, text in enumerate(TEXTS)
    ]


def write(file: Path, rows: Sequence[dict[str, object]]) -> Path:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
        return file
    with open(file, "w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return file


@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
def test_a_table_of_one_s_own(tmp_path: Path, name: str) -> None:
    rows = own_rows()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    table = load_cost_file(write(tmp_path / name, [rows[i] for i in order]), SPACE)
    assert table.metrics == {"latency": "µs", "energy": "mJ"}, "latency first; columns without a unit are no metrics"
    assert sorted(table.values) == ["a", "b"] and sorted(table.architectures) == sorted(TEXTS)
    rows_of = table.rows(TEXTS)
    assert table.values["b"][rows_of, 0].tolist() == [100.0 * (row + 2) for row in range(len(TEXTS))]
    assert table.values["a"][rows_of, 1].tolist() == [5.0 + row for row in range(len(TEXTS))]
    assert [device.name for device in devices_of(table, SPACE, ["b"], ["a"])] == ["b", "a"]


def changed(place: int, **columns: object) -> list[dict[str, object]]:
    rows = own_rows()
    rows[place] = {**rows[place], **columns}
    return rows


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([{"device": "a", "latency_ms": 1.0}], "wanted columns architecture, device, latency_ms"),
        ([{"architecture": TEXTS[0], "latency_ms": 1.0}], "wanted columns architecture, device"),
        ([{"architecture": TEXTS[0], "device": "a", "speed": 1.0}], "wanted columns .*, device, speed"),
        (own_rows()[:-1], r"own.csv: device b lacks \|.*\|, which a has in line 14; every device needs the same"),
        (own_rows()[1:], r"own.csv: device a lacks \|.*\|, which b has in line 14; every device needs the same"),
        ([*own_rows(), own_rows()[0]], r"own.csv, line 28: device a has \|none~0\|.* already in line 2; keep one"),
        ([*own_rows(), {**own_rows()[3], "latency_us": 7.0}], r"line 28: device a has \|.*\| already in line 5"),
        (changed(3, latency_us=-1.0), "own.csv, line 5: latency_us must be a positive number, got '-1.0'"),
        (changed(20, energy_mj=0.0), "line 22: energy_mj must be a positive number, got '0.0'"),
        (changed(20, energy_mj=""), "line 22: energy_mj must be a positive number, got an empty cell"),
        (changed(20, energy_mj=float("inf")), "line 22: energy_mj must be a positive number, got 'inf'"),
        (changed(20, energy_mj=float("nan")), "line 22: energy_mj must be a positive number, got 'nan'"),
        (changed(20, energy_mj="NA"), "line 22: energy_mj must be a positive number, got 'NA'"),
        (changed(20, energy_mj="much"), "line 22: energy_mj must be a positive number, got 'much'"),
        (changed(20, energy_mj="1,5"), "energy_mj must be a positive number, got '1,5'; write decimals with a point"),
        (changed(20, energy_mj="1_5"), "energy_mj must be a positive number, got '1_5'"),
        (changed(20, energy_mj="5 mJ"), "energy_mj must be a positive number, got '5 mJ'"),
        (changed(4, architecture="|conv~0|"), "line 6: .*'conv~0' in .* does not fit"),
        (changed(4, architecture=" "), "line 6: every row needs its architecture, this cell is empty"),
        ([{"architecture": 7, "device": "a", "latency_ms": 1.0}], "line 2: architecture: '7' in '7' does not fit"),
        ([{**row, "latency_ms": 1.0} for row in own_rows()], "one column and unit per metric, got .*, latency_ms"),
        (changed(0, device=""), "own.csv, line 2: every row needs its device, this cell is empty"),
    ],
)
def test_bad_tables_of_one_s_own_are_refused_in_one_line(tmp_path: Path, rows: list[dict], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        load_cost_file(write(tmp_path / "own.csv", rows), SPACE)
    assert "\n" not in str(caught.value)


NAMES = ["001", "on", "true", "NA", "null", "nan", "1e3", "None", "2024-01-01", "1.0", "-", "NaN"]


@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
def test_names_of_devices_stay_the_text_that_they_are(tmp_path: Path, name: str) -> None:
    rows = [{"architecture": t, "device": d, "latency_ms": 1.0 + k} for d in NAMES for k, t in enumerate(TEXTS)]
    table = load_cost_file(write(tmp_path / name, rows), SPACE)
    assert list(table.values) == NAMES
    assert [d.name for d in devices_of(table, SPACE, NAMES[:6], NAMES[6:])] == NAMES


HEADING = ("architecture", "device", "latency_ms")


def lines(delimiter: str = ",", heading: Sequence[str] = HEADING, end: str = "\n") -> str:
    rows = [heading, *([text, name, str(1.5 + k)] for name in ("pi4", "tpu") for k, text in enumerate(TEXTS))]
    return end.join(delimiter.join(row) for row in rows) + end


CSV_FORMS = {
    "plain": lines().encode(),
    "mark": lines().encode("utf-8-sig"),
    "UTF-16": lines().encode("utf-16"),
    "Windows": lines(end="\r\n").encode("utf-8-sig"),
    "semicolons": lines(";").encode(),
    "tabs": lines("\t").encode(),
    "large letters": lines(heading=("Architecture", "DEVICE", "Latency_MS")).encode(),
    "blanks": lines(", ").encode(),
    "quoted": "\n".join('"' + line.replace(",", '","') + '"' for line in lines().splitlines()).encode(),
    "an index": "\n".join(f"{n or ''},{line}" for n, line in enumerate(lines().splitlines())).encode(),
    "empty lines": lines().replace("\n", "\n\n").encode() + b"\n",
}


@pytest.mark.parametrize("form", CSV_FORMS)
def test_csv_of_other_programs(tmp_path: Path, form: str) -> None:
    (tmp_path / "own.csv").write_bytes(CSV_FORMS[form])
    table = load_cost_file(tmp_path / "own.csv", SPACE)
    assert (table.metrics, list(table.values)) == ({"latency": "ms"}, ["pi4", "tpu"])
    for name in table.values:
        assert table.values[name][table.rows(TEXTS), 0].tolist() == [1.5 + k for k in range(len(TEXTS))]


@pytest.mark.parametrize(
    ("heading", "unit"),
    [
        ("latency_us", "µs"),
        ("latency_\u00b5s", "µs"),
        ("latency_\u03bcs", "µs"),
        ("Latency_US", "µs"),
        ("latency_ns", "ns"),
        ("latency_s", "s"),
    ],
)
def test_units_are_those_of_the_heading(tmp_path: Path, heading: str, unit: str) -> None:
    text = lines(heading=("architecture", "device", heading))
    (tmp_path / "own.csv").write_text(text, encoding="utf-8")
    assert load_cost_file(tmp_path / "own.csv", SPACE).metrics == {"latency": unit}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines(heading=("architecture", "device", "latency (ms)")), r"wanted columns .*, got .*latency \(ms\)"),
        (lines().replace("pi4,1.5", "pi4", 1), "line 2 has 2 cells, the heading 3"),
        (lines().replace("1.5\n", "1,5\n"), "line 2 has 4 cells, the heading 3"),
        (lines(";").replace(".", ","), "line 2: latency_ms must be a positive number, got '1,5'; write decimals"),
        (lines(heading=("architecture", "device", "Device")), "wanted columns"),
        ("architecture,device,Device,latency_ms\n" + f"{TEXTS[0]},a,b,1\n", "two columns are called device"),
        ("architecture,device,latency_ms,Latency_ms\n" + f"{TEXTS[0]},a,1,2\n", "one column and unit per metric"),
        (lines().splitlines()[0], "it has no rows"),
    ],
)
def test_csv_that_cannot_be_understood_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_cost_file(tmp_path / "own.csv", SPACE)
    assert "\n" not in str(caught.value)


def text_column(values: Sequence[str], kind: str) -> pa.Array:
    plain = pa.array(values)
    distinct = list(dict.fromkeys(values))
    indices = pa.array([distinct.index(value) for value in values])
    if kind == "category":
        return plain.dictionary_encode()
    if kind == "category of large":
        return plain.cast(pa.large_string()).dictionary_encode()
    if kind == "category of views":
        return pa.DictionaryArray.from_arrays(indices, pa.array(distinct, pa.string_view()))
    types = {"large_string": pa.large_string(), "string_view": pa.string_view(), "binary": pa.binary()}
    return plain.cast(types[kind])


@pytest.mark.parametrize(
    "kind", ["category", "category of large", "category of views", "large_string", "string_view", "binary"]
)
def test_text_of_any_storage_is_text(tmp_path: Path, kind: str) -> None:
    texts, names = [*TEXTS, *TEXTS], [name for name in ("pi4", "007") for _ in TEXTS]
    numbers = [1.5 + k for k in range(len(texts))]
    columns = [text_column(texts, kind), text_column(names, kind), numbers]
    table = pa.table(dict(zip(HEADING, columns)))
    try:
        pq.write_table(table, tmp_path / "own.parquet")
    except pa.ArrowNotImplementedError:
        pytest.skip("this pyarrow cannot write it")
    found = load_cost_file(tmp_path / "own.parquet", SPACE)
    assert list(found.values) == ["pi4", "007"]
    assert found.values["007"][found.rows(TEXTS), 0].tolist() == numbers[len(TEXTS) :]


def test_devices_of_a_parquet_file_that_are_whole_numbers_are_their_digits(tmp_path: Path) -> None:
    plain = pa.array([name for name in (1, 20) for _ in TEXTS])
    for column in (plain, plain.dictionary_encode()):
        table = pa.table(dict(zip(HEADING, ([*TEXTS, *TEXTS], column, [1.0 + k for k in range(26)]))))
        pq.write_table(table, tmp_path / "own.parquet")
        assert list(load_cost_file(tmp_path / "own.parquet", SPACE).values) == ["1", "20"]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (pa.array([1.0] * 13), "own.parquet, row 1: device must be text, got float 1.0"),
        (pa.array([True] * 13), "row 1: device must be text, got bool True"),
        (pa.array([b"\xff"] * 13), "row 1: device must be text, got bytes"),
        (pa.array(["a"] * 4 + [None] + ["a"] * 8), "own.parquet, row 5: every row needs its device"),
        (pa.nulls(13), "row 1: every row needs its device"),
    ],
    ids=["floats", "truth values", "no text", "a gap", "nothing"],
)
def test_devices_without_a_name_are_refused(tmp_path: Path, devices: pa.Array, message: str) -> None:
    table = pa.table({"architecture": TEXTS, "device": devices, "latency_ms": [1.0 + k for k in range(13)]})
    pq.write_table(table, tmp_path / "own.parquet")
    with pytest.raises(InputError, match=message):
        load_cost_file(tmp_path / "own.parquet", SPACE)


def test_a_double_row_of_a_parquet_file_is_located_however_its_network_is_written(tmp_path: Path) -> None:
    rows = [{"architecture": text, "device": "a", "latency_ms": 1.0 + k} for k, text in enumerate(TEXTS)]
    again = {"architecture": f" {TEXTS[2]} ", "device": "a", "latency_ms": 9.0}
    with pytest.raises(InputError, match=r"own.parquet, row 14: device a has .* already in row 3; keep one"):
        load_cost_file(write(tmp_path / "own.parquet", [*rows, again]), SPACE)


def test_folders_of_a_file_add_no_column(tmp_path: Path) -> None:
    (tmp_path / "device=pi5").mkdir()
    file = write(tmp_path / "device=pi5" / "own.parquet", own_rows())
    assert list(load_cost_file(file, SPACE).values) == ["a", "b"]


def test_an_unknown_device_is_told_with_what_is_close() -> None:
    with pytest.raises(InputError, match="no 'phon'; did you mean phone\\? it has phone, board, server"):
        devices_of(make_table(), SPACE, ["phon"], [])


@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
def test_a_file_that_is_no_table(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="can be read neither as CSV nor as parquet"):
        load_cost_file(tmp_path / name, SPACE)
    (tmp_path / name).write_bytes(b"" if name == "own.csv" else b"PAR1 and nothing more")
    with pytest.raises(InputError, match="can be read neither as CSV nor as parquet"):
        load_cost_file(tmp_path / name, SPACE)


# ---- the real tables ----


@needs_tables
def test_help_s_settings_hold_the_paper_s_devices() -> None:
    folder = Path(DATA) / "nb201"
    architectures = load_nats_bench(folder / "nats_bench.csv").architectures
    table = load_help(folder / "help-latency", architectures)
    assert len(table.values) == 27 and set(PAPER_SEARCH) | set(PAPER_UNSEEN) <= set(table.values)
    assert (len(PAPER_SEARCH), len(PAPER_UNSEEN)) == (13, 6)
    indices = torch.load(folder / "hardware_embedding_index.pt", weights_only=True)
    assert table.rows(SPACE.references).tolist() == list(indices)
    device = devices_of(table, SPACE, ["fpga"], [])[0]
    assert isinstance(device, Device) and len(device.embedding) == 10


@needs_tables
def test_the_raspberry_pi_has_three_frameworks_with_energy() -> None:
    folder = Path(DATA) / "nb201"
    architectures = load_nats_bench(folder / "nats_bench.csv").architectures
    table = load_hw_nas_bench_360(folder / "hw-nas-bench-360" / "dataset.parquet", architectures)
    assert list(table.values) == ["pi5_litert", "pi5_onnx", "pi5_torchmobile"]
    assert all(costs.shape == (15625, 2) and bool((costs > 0).all()) for costs in table.values.values())
