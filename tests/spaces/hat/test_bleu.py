"""BLEU of any network: how well the regression tells what it has not seen, and that leaving its range gains nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hat_tables import bleu, record, write_tables

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.bleu import BleuModel, Trained, read_trained
from modnas_fast.spaces.hat.published import HATPublished
from modnas_fast.spaces.hat.published_networks import NETWORKS
from modnas_fast.spaces.hat.space import HATSpace
from modnas_fast.spaces.rows import LinearModel

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files to compare")
SPACE = HATSpace("space0")


def made_up(text: str) -> Trained:
    return Trained(text, bleu(SPACE, text), False)


@needs_data
def test_the_published_networks_are_told_as_well_as_is_said() -> None:
    model = HATPublished(SPACE).bleu
    assert len(model.trained) == 47 and sum(each.of_hat for each in model.trained) == 17
    assert model.left_out.spearman == pytest.approx(0.973, abs=5e-4)
    assert model.left_out.mean_error == pytest.approx(0.17, abs=5e-3)


def test_leaving_out_is_fitting_anew() -> None:
    drawn = SPACE.decode(SPACE.sample(25, torch.Generator().manual_seed(0)))
    trained = read_trained([], SPACE) + [made_up(network.text) for network in drawn]
    model = BleuModel(SPACE, trained)
    kept = trained[:20] + trained[21:]
    onehot = SPACE.encode([SPACE.parse(each.architecture) for each in trained])
    columns = torch.cat([model.columns(onehot), torch.tensor([[float(t.of_hat)] for t in trained]).double()], dim=-1)
    rows = [row for row in range(len(trained)) if row != 20]
    other = LinearModel(columns[rows], torch.tensor([[each.bleu] for each in kept], dtype=torch.float64), 0.05)
    assert model.left_out.told[20].item() == pytest.approx(other(columns[[20]]).item(), abs=1e-10)


def test_no_network_gains_beyond_what_was_trained() -> None:
    trained = read_trained([], SPACE)
    drawn = [n for n in SPACE.decode(SPACE.sample(200, torch.Generator().manual_seed(1))) if "2048" in n.text]
    model = BleuModel(SPACE, trained + [made_up(network.text) for network in drawn[:30]])
    onehot = SPACE.sample(400, torch.Generator().manual_seed(2))
    onehot = torch.cat([onehot, SPACE.encode(list(SPACE.ends))])
    columns, (low, high) = model.columns(onehot), model.range
    beyond = ((columns < low - 1e-9) | (columns > high + 1e-9)).any(-1)
    assert torch.equal(model.beyond(onehot), beyond) and beyond[-2] and not beyond.all()
    of_hat = torch.ones_like(columns[:, :1])
    line = 100 - model._model(torch.cat([columns, of_hat], dim=-1))[:, 0]
    inside = 100 - model._model(torch.cat([columns.clamp(low, high), of_hat], dim=-1))[:, 0]
    told = model(onehot)
    torch.testing.assert_close(told[~beyond], line[~beyond], rtol=0, atol=1e-10)
    assert (told >= line - 1e-9).all() and (told >= inside - 1e-9).all()
    assert (told[beyond] > inside[beyond] + 1e-6).any(), "small networks lose by being smaller still"


def test_networks_with_their_bleu_are_read(tmp_path: Path) -> None:
    folder = write_tables(tmp_path) / "hat/llm-pp"
    files = [folder / "wmt14ende_train.jsonl", folder / "wmt14ende_test.jsonl"]
    found = read_trained(files, SPACE)
    assert [each.of_hat for each in found] == [True] * 17 + [False] * 30
    assert [each.bleu for each in found[:17]] == [network.bleu for network in NETWORKS]
    assert found[20].bleu == pytest.approx(bleu(SPACE, found[20].architecture), abs=0.005)


@pytest.mark.parametrize("line", ["", "{", '{"scratch": {}}', '{"scratch": {"arch_info": ["a: 1"], "test_BLEU": 1}}'])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text(f"{record(SPACE, SPACE.references[3])}\n{line}\n")
    with pytest.raises(InputError, match=r"some\.jsonl, line 2: no network with its BLEU .*data fetch hat"):
        read_trained([file], SPACE)
