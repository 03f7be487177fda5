"""What is published of the spaces 0 and 1: rows of latencies, judges of latency and BLEU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hat_tables import DEVICES, write_tables

from modnas_fast.devices.table import load_costs, usual_split
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.published_networks import NETWORKS
from modnas_fast.spaces.hat.space import HATSpace
from modnas_fast.spaces.rows import RowTable

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files to compare")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    return write_tables(tmp_path)


@pytest.mark.usefixtures("home")
def test_the_table_has_rows_of_each_device_and_the_paper_s_split() -> None:
    space = HATSpace("space0")
    table = load_costs("hat", space)
    assert isinstance(table, RowTable)
    assert list(table.samples) == list(DEVICES) and table.metrics == {"latency": "ms"}
    assert {name: len(rows) for name, rows in table.numbers.items()} == dict.fromkeys(DEVICES, 90)
    assert usual_split(table, "hat", space, None, None) == (DEVICES[:2], DEVICES[2:])
    for device in DEVICES:
        (fit,) = table.judge.fits(device)
        assert fit.r2 > 0.999 and fit.spearman > 0.99, "the made-up latencies are linear in the details"
        told = table.judge(device, table.samples[device])
        torch.testing.assert_close(told, table.values[device], rtol=0.02, atol=0)


@pytest.mark.usefixtures("home")
def test_bleu_is_judged_for_every_network_and_says_how_well() -> None:
    space = HATSpace("space0")
    assert space.published is not None and space.published is space.published
    truth = space.published.truth("wmt14-ende")
    assert truth.asks_judge and truth.kind == "judged" and truth.chance == 100
    assert (truth.quality.key, truth.quality.unit) == ("bleu_loss", "%")
    assert len(truth.architectures) == len(set(truth.architectures)) <= 47
    assert "ridge regression on 47 trained ones" in truth.origin and "extrapolation" in truth.origin
    assert truth.judge is not None
    errors = truth.judge(space.sample(50, torch.Generator().manual_seed(0)))
    assert errors.dtype == torch.float64 and (errors > 70).all() and (errors < 78).all()


def test_other_sizes_have_nothing_published() -> None:
    assert HATSpace("small").published is None
    assert HATSpace("space0", decoder_depths=(1, 2)).published is None
    with pytest.raises(InputError, match=r"devices.table: .*of the spaces 0 and 1: set space.scale=space0"):
        load_costs("hat", HATSpace("small"))


def test_missing_files_are_named_with_their_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    with pytest.raises(InputError, match="wmt14ende_cpu_xeon_all.csv is missing; fetch it with: .* hat-latency"):
        load_costs("hat", HATSpace("space0"))


@needs_data
def test_the_judges_agree_with_what_hat_measured_of_its_networks() -> None:
    space = HATSpace("space0")
    table = load_costs("hat", space)
    assert isinstance(table, RowTable)
    fits = {device: table.judge.fits(device)[0] for device in DEVICES}
    assert {name: round(fit.r2, 3) for name, fit in fits.items()} == {
        "cpu_xeon": 0.971,
        "gpu_titanxp": 0.994,
        "cpu_raspberrypi": 0.998,
    }
    for network in NETWORKS:
        (told,) = table.judge(network.device, space.encode([space.parse(network.architecture)]))[0].tolist()
        assert told == pytest.approx(network.latency_ms, rel=0.15)
