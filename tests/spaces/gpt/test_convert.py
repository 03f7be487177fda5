"""Raw files of HW-GPT-Bench as a table: against the published one, and made-up ones from fetch to table."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hw_gpt_bench import costs_of, write_net, write_raw

from modnas_fast.datasets import registry
from modnas_fast.datasets.fetch import fetch
from modnas_fast.datasets.registry import datasets, git_blob_of
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces.gpt.convert import FOLDERS, Table, convert, key_of, raw_file, raw_files, read_records
from modnas_fast.spaces.gpt.published import GPTPublished
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.table import load_table, texts_of

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files to compare")


def own_data_set(monkeypatch: pytest.MonkeyPatch, source: Path, count: int = 12) -> list[str]:
    """Raw files in `source`, and a registry whose one data set is made of them; the networks in order."""
    texts = write_raw(source / "gpt" / "raw", "s", count)
    net = source / "gpt" / "perplexity_s.pt"
    write_net(net, "s")
    rows = ["path\tgit_blob\tbytes"]
    for file in sorted((source / "gpt" / "raw").iterdir()):
        rows.append(f"{file.name.replace('+', '/')}\t{git_blob_of(file)}\t{file.stat().st_size}")
    (source / "list.tsv").write_text("\n".join(rows) + "\n")
    own = {"path": "gpt/perplexity_s.pt", "upstream": "net", "size": net.stat().st_size,
           "sha256": hashlib.sha256(net.read_bytes()).hexdigest()}  # fmt: skip
    product = {"path": "gpt/hw_gpt_bench_s.npz", "by": "modnas_fast.spaces.gpt.convert:convert_scale", "sha256": []}
    entry = {"name": "tiny", "title": "", "licence": "", "source": "nowhere", "base": "https://example.org/",
             "raw": {"list": str(source / "list.tsv"), "scale": "s"}, "files": [own], "product": product}  # fmt: skip
    monkeypatch.setattr(registry, "_content", lambda: {"datasets": [entry], "groups": {}})
    return texts


@needs_data
def test_raw_files_give_the_rows_of_the_published_table() -> None:
    published = np.load(Path(str(DATA)) / "gpt/hw_gpt_bench_s.npz", allow_pickle=False)
    space = GPTSpace("s")
    shapes = [space.shape(space.parse(text).indices) for text in texts_of(published)]
    table = Table("s", [(shape.width, shape.ratios, shape.heads, shape.bias) for shape in shapes])
    for path in sorted((Path(str(DATA)) / "gpt/raw").glob("*.pkl")):
        file = raw_file(path)
        assert file is not None
        table.add(file, read_records(path))
    told: dict[str, int] = {}
    for name, array in table.arrays.items():
        known = np.ones(array.shape, bool) if array.dtype.kind != "f" else ~np.isnan(array)
        if name in ("params", "flops", "macs", "embed_dim", "n_layer", "bias", "n_head", "mlp_ratio"):
            known &= (table.arrays["params"] > 0).reshape(-1, *[1] * (array.ndim - 1))
        assert array.dtype == published[name].dtype and np.array_equal(array[known], published[name][known]), name
        told[name] = int(known.sum())
    assert told["latency_ms"] == 50_000 and told["energy_wh_mean"] == 5_000 and told["energy_wh_median"] == 2_500
    assert told["perplexity"] == 1_000 and told["bfloat16_memory_mb"] == 10_000 and told["params"] == 2_500
    assert set(told) | {"perplexity_mlp", "float16_memory_mb"} == set(published.files)


@needs_data
def test_the_published_tables_are_known_and_nothing_is_fetched(tmp_path: Path) -> None:
    for scale in ("s", "l"):
        data = datasets()[f"hw-gpt-bench-{scale}"]
        assert data.state(Path(str(DATA))) == "present" and data.lacking(Path(str(DATA))) == []
        by_rule = GPTPublished(GPTSpace(scale), scale).measured
        assert len(by_rule) == 10_000 and set(GPTSpace(scale).references) <= set(by_rule)
    raw = {file.path: file for file in datasets()["hw-gpt-bench-s"].raw}
    there = [raw[path] for path in raw if (Path(str(DATA)) / path).exists()]
    assert len(there) == 5 and all(file.fault(Path(str(DATA))) is None for file in there), "git blob ids"


def test_from_a_mirror_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, home = tmp_path / "mirror", tmp_path / "home"
    texts = own_data_set(monkeypatch, source)
    (data,) = datasets().values()
    assert data.state(home) == "absent" and len(data.lacking(home)) == len(data.parts)
    raw = home / "gpt" / "raw"
    raw.mkdir(parents=True)
    broken = sorted((source / "gpt" / "raw").iterdir())[3]
    (raw / f".{broken.name}.part").write_bytes(broken.read_bytes()[:100])  # a transfer that broke off
    fetch([data], home, mirror=source.as_uri())
    assert data.state(home) == "present" and data.lacking(home) == [] and data.faults(home) == {}
    arrays = load_table(home / "gpt" / "hw_gpt_bench_s.npz")
    assert list(texts_of(arrays)) == texts
    for row, text in enumerate(texts):
        for device, _ in enumerate(FOLDERS):
            perplexity, latency, energy = costs_of(text, device)
            assert np.nanmedian(arrays["latency_ms"][device, row]) == pytest.approx(latency, rel=1e-6)
            assert arrays["energy_wh_mean"][device, row] >= 0.99 * energy
        assert arrays["perplexity"][row] == pytest.approx(perplexity)
    gpus = [device for device, name in enumerate(arrays["device"]) if not name.startswith("cpu")]
    assert arrays["energy_wh_median"][gpus[0], 0] == pytest.approx(costs_of(texts[0], gpus[0])[2], rel=1e-6)
    assert np.isnan(arrays["energy_wh_median"][-1]).all() and np.isnan(arrays["latency_ms"][0, 0, 5:]).all()
    shutil.rmtree(raw)
    shutil.rmtree(source)
    fetch([data], home, mirror=source.as_uri())  # nothing is asked for


def test_a_table_of_other_files_or_damaged_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "mirror"
    own_data_set(monkeypatch, source)
    (data,) = datasets().values()
    fetch([data], tmp_path, mirror=str(source))
    table = tmp_path / "gpt" / "hw_gpt_bench_s.npz"
    good = table.read_bytes()
    table.write_bytes(good[:-40])
    assert data.faults(tmp_path) == {"gpt/hw_gpt_bench_s.npz": "it is damaged"}
    assert data.state(tmp_path) == "not verified"
    table.unlink()
    convert(source / "gpt" / "raw", table, scale=None, reporter=Silent())
    assert data.faults(tmp_path) == {"gpt/hw_gpt_bench_s.npz": "it was not made of the published files"}
    fetch([data], tmp_path, mirror=str(source))
    assert data.state(tmp_path) == "present"
    spoiled = source / "gpt" / "raw" / "latency_a100+efficiency_observations_0_6.pkl"
    spoiled.write_bytes(spoiled.read_bytes()[::-1])
    with pytest.raises(InputError, match="not the published file .the git blob id differs.; nothing was kept"):
        fetch([data], tmp_path / "other", mirror=str(source))


def test_raw_files_of_ones_own(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    texts = write_raw(raw, "s", 10)
    write_raw(raw, "m", 10)
    write_net(tmp_path / "perplexity_s.pt", "s")
    out = tmp_path / "own.npz"
    with pytest.raises(InputError, match="--dataset: .* holds the scales m, s; name one of them"):
        convert(raw, out, scale=None, reporter=Silent())
    with pytest.raises(InputError, match=r"FILE: .* has no perplexity_m.pt; modnas-fast data fetch hw-gpt-bench-m"):
        convert(raw, out, scale="m", reporter=Silent())
    with pytest.raises(InputError, match=r"--out: wanted a name that ends in .npz"):
        convert(raw, tmp_path / "own.csv", scale="s", reporter=Silent())
    assert convert(raw, out, scale="s", reporter=Silent()).startswith(f"{out}: 10 networks with device, ")
    assert list(texts_of(load_table(out))) == texts
    with pytest.raises(InputError, match=r"--out: .* exists"):
        convert(raw, out, scale="s", reporter=Silent())
    out.unlink()
    (raw / "latency_h100+efficiency_observations_5_10.pkl").unlink()
    with pytest.raises(InputError, match="networks without latency or energy on h100"):
        convert(raw, out, scale="s", reporter=Silent())
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"nothing", "is no readable pickle of plain data"),
        (pickle.dumps({"arch": 1}), "wanted a list of records with `arch`"),
        (pickle.dumps([{"arch": {"sample_embed_dim": 192}}]), "a record lacks or garbles 'sample_n_layer'"),
        (pickle.dumps(os.system), "it wants to run posix.system"),
    ],
)
def test_a_garbled_raw_file_is_named(tmp_path: Path, content: Any, text: str) -> None:
    raw = tmp_path / "raw"
    write_raw(raw, "s", 10)
    write_net(raw / "perplexity_s.pt", "s")
    (raw / "latency_P100+efficiency_observations_0_5.pkl").write_bytes(content)
    with pytest.raises(InputError, match="latency_P100.efficiency_observations_0_5.pkl") as caught:
        convert(raw, tmp_path / "own.npz", scale=None, reporter=Silent())
    assert text in str(caught.value)


def test_networks_are_the_same_whatever_stands_behind_their_depth() -> None:
    arch = {"sample_embed_dim": 192, "sample_n_layer": 2, "sample_n_head": [4, 8, 12], "sample_mlp_ratio": [2, 3, 4]}
    assert key_of({**arch, "sample_bias": "False"}) == (192, (2, 3), (4, 8), False)
    assert key_of({**arch, "sample_n_head": [4, 8, 4], "sample_bias": False}) == (192, (2, 3), (4, 8), False)
    assert key_of({**arch, "sample_bias": "True"})[3] is True


def test_other_files_are_no_raw_files(tmp_path: Path) -> None:
    for name in (
        "a.pkl",
        "latency_P100+efficiency_observations_0_5.csv",
        "latency_tpu+efficiency_observations_0_5.pkl",
    ):
        (tmp_path / name).write_bytes(b"")
    assert raw_files(tmp_path) == {}
    file = raw_file(Path("latency_cpu_a6000_m+efficiency_observations_2500_5000.pkl"))
    assert file is not None and (file.folder, file.scale, file.first) == ("latency_cpu_a6000", "m", 2500)
