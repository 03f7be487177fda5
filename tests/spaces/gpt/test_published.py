"""HW-GPT-Bench's tables as costs and truth, which scales have one, and what a damaged one says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hw_gpt_bench import costs_of, networks, write_table

from modnas_fast.config import make_config
from modnas_fast.devices.table import load_costs, usual_split
from modnas_fast.runs.sources import find_truth
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.gpt.convert import DEVICES
from modnas_fast.spaces.gpt.published import PAPER_SEARCH, PAPER_UNSEEN
from modnas_fast.spaces.gpt.references import nearest_references
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.table import load_table


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GPTSpace:
    monkeypatch.setenv("MODNAS_DATA", str(write_table(tmp_path)))
    return GPTSpace("s")


def test_costs_of_the_table(space: GPTSpace) -> None:
    table = load_costs("hw-gpt-bench", space)
    assert table.metrics == {"latency": "ms", "energy": "mWh", "device_memory": "MB"}
    assert list(table.values) == list(DEVICES) and table.architectures == tuple(networks("s", 400))
    for number, device in enumerate(DEVICES):
        _, latency, energy = costs_of(table.architectures[7], number)
        found = table.values[device][7]
        assert found[:2].tolist() == pytest.approx([latency, 1000 * energy], rel=1e-6)
        assert bool(found[2].isnan()) == (device not in ("a100", "rtx2080"))


def test_the_usual_devices_are_those_of_the_metric(space: GPTSpace) -> None:
    table = load_costs("hw-gpt-bench", space)
    energy, memory = table.select(["energy"]), table.select(["device_memory"])
    assert usual_split(energy, "hw-gpt-bench", space, None, None) == (PAPER_SEARCH, PAPER_UNSEEN)
    assert usual_split(memory, "hw-gpt-bench", space, None, None) == (("rtx2080",), ("a100",))
    with pytest.raises(InputError, match="the table has no device_memory on v100; it has it on a100, rtx2080"):
        usual_split(memory, "hw-gpt-bench", space, ["v100"], None)


def test_what_was_not_measured_is_judged_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_table(tmp_path) / "gpt" / "hw_gpt_bench_s.npz"
    arrays = dict(np.load(file, allow_pickle=False))
    arrays["perplexity"] = arrays["perplexity"].copy()
    arrays["perplexity"][5:] = np.nan
    arrays["perplexity_mlp"] = arrays["perplexity_mlp"] + 1
    np.savez(file, **arrays)
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    published = GPTSpace("s").published
    assert published is not None
    truth = published.truth("openwebtext")
    assert "for 5 of the table's 400 networks, judged for the others" in truth.origin and truth.kind == "judged"
    np.testing.assert_array_equal(truth.values[:5].numpy(), arrays["perplexity"][:5].astype(float))
    np.testing.assert_array_equal(truth.values[5:].numpy(), arrays["perplexity_mlp"][5:].astype(float))


@pytest.mark.parametrize(
    "options", [{"scale": "small"}, {"scale": "s", "widths": [192, 384]}, {"scale": "l", "depths": [3, 4]}]
)
def test_a_space_without_a_table_says_so(options: dict) -> None:
    space = GPTSpace(**options)
    assert space.published is None and len(set(space.references)) == 10
    with pytest.raises(InputError, match="hw-gpt-bench'; space.scale=s, m or l has a table"):
        load_costs("hw-gpt-bench", space)
    config = make_config(preset="hw-gpt-bench")
    with pytest.raises(InputError, match="nothing is published of space gpt, got 'openwebtext'; space.scale=s"):
        find_truth(config, space)


def test_sizes_that_are_those_of_the_scale_have_its_table() -> None:
    assert GPTSpace("s", widths=[192, 384, 768], head_size=64).published is not None


def test_without_its_file_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    with pytest.raises(InputError, match="hw_gpt_bench_s.npz is missing; .*: modnas-fast data fetch hw-gpt-bench-s"):
        load_costs("hw-gpt-bench", GPTSpace("s"))
    assert len(set(GPTSpace("m").references)) == 10


def test_references_of_m_are_in_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    designed = GPTSpace("m").references
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    space = GPTSpace("m")
    drawn = space.decode(space.canonical(space.sample(300, torch.Generator().manual_seed(1))))
    texts = [architecture.text for architecture in drawn]
    found = nearest_references(space, texts)
    assert len(set(found)) == 10 and set(found) <= set(texts) and set(found).isdisjoint(designed)
    assert nearest_references(space, [*texts, *designed]) == designed
    for mine, wanted in zip(found, designed):
        one, other = (space.shape(space.parse(text).indices) for text in (mine, wanted))
        assert (one.width, len(one.heads), one.bias) == (other.width, len(other.heads), other.bias)


@pytest.mark.parametrize("fault", ["cut", "shape", "lacking", "text"])
def test_a_damaged_table_is_refused(tmp_path: Path, fault: str) -> None:
    file = write_table(tmp_path) / "gpt" / "hw_gpt_bench_s.npz"
    arrays = dict(np.load(file, allow_pickle=False))
    if fault == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif fault == "text":
        file.write_text("nothing")
    elif fault == "shape":
        np.savez(file, **{**arrays, "n_head": arrays["n_head"][:3]})
    else:
        del arrays["latency_ms"]
        np.savez(file, **arrays)
    with pytest.raises(InputError, match="hw_gpt_bench_s.npz is (damaged: n_head|no table of HW-GPT-Bench)"):
        load_table(file)
