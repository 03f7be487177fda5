"""The benchmark of scaling: its formula by hand, messages of two processes, and what it prints and writes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from modnas_fast.bench import scaling, scaling_workloads
from modnas_fast.bench.scaling import main
from modnas_fast.bench.scaling_formula import (
    Network,
    Workload,
    efficiency,
    fitted,
    phi_bytes,
    predicted,
    strong,
    sum_seconds,
    weak,
    weight_messages,
)
from modnas_fast.bench.scaling_ranks import Message, exchanged, on_ranks, steps_in_turns
from modnas_fast.bench.scaling_workloads import PUBLISHED, measured
from modnas_fast.bench.step_setting import Setting
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.mesh import BUCKET_BYTES

WORK = Workload("nb201", 30, (100, 50), 1.0, {1: 0.01, 101: 0.11}, 0.02)


def test_a_step_by_hand() -> None:
    """13 devices on 8 ranks: two networks on the fullest, and three sums in a ring."""
    found = predicted(WORK, 8, 13, Network(1e-3, 1e6))
    assert found.mesh == (8, 1) and found.divided_s == 2.0
    assert found.repeated_s == pytest.approx(0.01 + 12 * 0.001 + 0.02)
    assert found.exchange_s == pytest.approx(sum(14 * (1e-3 + n / 8e6) for n in (4 * 13 * 31, 8, 600)))
    assert found.step_s == found.divided_s + found.repeated_s + found.exchange_s


def test_a_network_that_costs_nothing_leaves_what_each_rank_does_whole() -> None:
    free = Network(0.0, 1e30)
    alone = WORK._replace(phi_s={1: 0.0}, optimizer_s=0.0)
    assert efficiency(weak(alone, [2, 64, 512], 1, 1000, free)) == pytest.approx([1.0, 1.0, 1.0])
    assert efficiency(strong(alone, [13, 26], 13, free)) == pytest.approx([1.0, 1.0])
    (share,) = efficiency(weak(WORK, [101], 1, 1000, free))
    assert share == pytest.approx(1.03 / 1.13)


def test_the_gramian_grows_beyond_what_was_measured_and_devices_stop_where_they_are_told() -> None:
    free = Network(0.0, 1e30)
    assert predicted(WORK, 1, 202, free).repeated_s == pytest.approx(4 * 0.11 + 0.02)
    assert [step.devices for step in weak(WORK, [8, 1024], 2, 1000, free)] == [2, 16, 1000]


def test_sums_take_a_tree_where_it_is_quicker() -> None:
    ring, best = Network(1e-3, 1e9), Network(1e-3, 1e9, "best")
    assert sum_seconds(4, 1024, ring) == pytest.approx(2046e-3, rel=1e-3)
    assert sum_seconds(4, 1024, best) == pytest.approx(20e-3, rel=1e-3)
    assert sum_seconds(10**10, 8, best) == sum_seconds(10**10, 8, ring) == pytest.approx(14e-3 + 17.5)


def test_noise_does_not_make_a_latency_negative() -> None:
    found = fitted([1000, 1_000_000], [1e-6, 2e-3])
    assert found.latency_s == 0.0 and found.bytes_per_s > 0


def test_phi_exchanges_at_most_eight_bytes_per_device_and_option() -> None:
    for one in PUBLISHED.values():
        options = one.space().num_options
        assert phi_bytes(one.devices, options) <= 8 * one.devices * options


def test_sizes_are_the_papers() -> None:
    sizes = {name: sum(one.weights()) for name, one in PUBLISHED.items()}
    assert sizes == {"nb201": 1_685_562, "gpt": 123_651_072, "hat": 91_872_512, "mobilenetv3": 10_715_752}
    messages = weight_messages([7_000_000, 3, 5_000_000])
    assert messages == [12, 28_000_000, 20_000_012] and messages[1] >= BUCKET_BYTES


def test_two_processes_exchange_and_step_in_turns() -> None:
    messages = [Message("a", "all_reduce", (1024, 4096)), Message("b", "all_gather", (1024,))]
    seconds, found = on_ranks(
        partial(exchanged, messages=messages, rounds=2),
        partial(steps_in_turns, setting=Setting(2, 4, channels=2, cells=1, side=8), rounds=2),
    )
    assert len(seconds) == 2 and all(0 < each < 60 for each in seconds) and messages[0].size == 5120
    assert found.keys() == {"one rank", "two ranks"}
    assert all(len(rows) == 2 and min(map(min, rows)) > 0 for rows in found.values())


def test_a_workload_is_that_of_the_whole_minibatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling_workloads, "_passes_seconds", lambda space, supernet, minibatch, rounds: 0.5)
    found = measured(PUBLISHED["nb201"], 1, (1, 3), samples=2)
    assert found.network_s == 0.5 * 128 and found.phi_s.keys() == {1, 3} and found.options == 30
    assert found.weights == PUBLISHED["nb201"].weights() and found.optimizer_s > 0


def test_another_machines_steps_and_another_network_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured once with everything slow left out, then the file serves for `--compute`."""
    monkeypatch.setattr(scaling, "on_ranks", lambda work: [[1e-3] * len(work.keywords["messages"])])
    monkeypatch.setattr(scaling, "measured", lambda one, *_: WORK)
    first, second, drawn = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "b.svg"
    before = torch.get_num_threads()
    try:
        main(["--quick", "--json", str(first)])
        monkeypatch.delattr(scaling, "measured")
        own = ["--latency-us", "5", "--bandwidth-gb", "25", "--spaces", "nb201", "--ranks", "8,512"]
        main([*own, "--compute", str(first), "--json", str(second), "--plot", str(drawn)])
        told = capsys.readouterr().out
        main([*own, "--step", "nb201=0.5+0.25", "--json", str(first)])
    finally:
        torch.set_num_threads(before)
    assert "25 GB/s (assumed), sums: best" in told and "t(R) = c ⌈T/D⌉ / B" in told
    content: dict[str, Any] = json.loads(second.read_text())
    assert content["op"] == "scaling" and content["commit"] and content["results"]["network"]["measured"] is False
    rows = content["results"]["predicted"]["nb201"]["weak"]
    assert [row["ranks"] for row in rows] == [1, 8, 512] and rows[0]["efficiency"] == 1.0
    wanted = predicted(WORK, 512, 512, Network(5e-6, 25e9, "best"))
    assert rows[2]["step_s"] == pytest.approx(wanted.step_s)
    assert drawn.read_text().startswith("<?xml")
    by_hand = json.loads(first.read_text())["results"]["predicted"]["nb201"]["weak"]
    assert by_hand[0]["step_s"] == pytest.approx(0.75)


def test_steps_of_two_ranks_are_told_beside_those_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"one rank": [[3.0, 2.0], [5.0, 2.2]], "two ranks": [[2.0, 1.0], [2.0, 1.1]]}
    monkeypatch.setattr(scaling, "on_ranks", lambda work: [rows])
    before = torch.get_num_threads()
    try:
        main(["--measure-step", "--batch", "8", "--json", str(tmp_path / "step.json")])
    finally:
        torch.set_num_threads(before)
    assert "by cpu    one rank 2.1 s, two ranks 1.05 s, 2.00 × as fast" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "step.json").read_text())["results"]
    assert row["ratio"] == {"clock": 2.0, "cpu": 2.0} and row["batch"] == 8


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--latency-us", "5"], "--latency-us and --bandwidth-gb describe one network: give both or neither"),
        (["--bandwidth-gb", "0"], "wanted a number above 0, got '0'"),
        (["--spaces", "darts"], "wanted some of nb201, gpt, hat, mobilenetv3, got 'darts'"),
        (["--step", "darts=1+1"], "wanted one of nb201, gpt, hat, mobilenetv3 before =, got 'darts'"),
        (["--step", "nb201=1"], "wanted a number above 0, got ''"),
        (["--plot", "x.pdf"], "--plot: wanted a name that ends with .svg or .png, got x.pdf"),
        (["--batch", "4"], "--batch goes with --measure-step"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments: list[str], told: str) -> None:
    with pytest.raises(InputError) as refused:
        main(arguments)
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "on_ranks", lambda work: [[1e-3] * len(work.keywords["messages"])])
    (tmp_path / "other.json").write_text('{"results": []}')
    with pytest.raises(InputError, match="--compute: .*other.json is no result of this benchmark"):
        main(["--quick", "--compute", str(tmp_path / "other.json")])
