"""Costs of tables: what of them a search knows, what judges it, and how it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from made_up_tables import SPACE, TEXTS, costs

from modnas_fast.devices.table_costs import HELD_OUT_SHARE, TableCosts
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces.published import CostTable, Fit

UNITS = {"energy": "mJ", "latency": "ms"}
NAMES = ("my phone", "board", "server")
OTHERS = [text for text in TEXTS if text not in SPACE.references]


def table(texts: Sequence[str], metrics: Sequence[str] = tuple(UNITS)) -> CostTable:
    row_of = {text: row for row, text in enumerate(TEXTS)}
    rows = [row_of[text] for text in texts]
    values = {
        name: torch.stack([costs(place, metric)[rows] for metric in metrics], dim=-1)
        for place, name in enumerate(NAMES)
    }
    return CostTable(tuple(texts), {metric: UNITS[metric] for metric in metrics}, values)


def source(texts: Sequence[str], search: Sequence[str] = NAMES[:2], begun: bool = True, **changes: Any) -> TableCosts:
    options: dict[str, Any] = {"networks": 20, "heldout": 24, "seed": 3, **changes}
    made = TableCosts(SPACE, table(texts), "own.csv", search, NAMES[2:], **options)
    if begun:
        made.begin(Silent())
    return made


def some(count: int) -> list[str]:
    """The reference networks among others, in no order of theirs."""
    order = torch.randperm(len(OTHERS), generator=torch.Generator().manual_seed(1)).tolist()
    return sorted([*SPACE.references, *(OTHERS[row] for row in order[: count - 10])])


# ---- a published table of some networks ----


class Doubling:
    """A judge that is easily told from measurements."""

    def __call__(self, device: str, onehot: torch.Tensor) -> torch.Tensor:
        return torch.stack([onehot.double().sum(1), torch.full((len(onehot),), float(NAMES.index(device)))], dim=-1)

    def fits(self, device: str) -> list[Fit]:
        return [Fit(1.0, 1.0)] * 2


def published(count: int = 60, judge: Doubling | None = None) -> TableCosts:
    made = replace(table(some(count)), judge=judge)
    options: dict[str, Any] = {"networks": 20, "heldout": 24, "seed": 3}
    counted = TableCosts(SPACE, made, "bench", NAMES[:2], NAMES[2:], **options, published=True)
    counted.begin(Silent())
    return counted


def test_a_published_table_is_counted_though_it_has_not_all() -> None:
    counted = published()
    assert (counted.complete, counted.judges, counted.limit, len(counted.held_out)) == (False, False, 20, 0)
    assert counted.known.texts == list(SPACE.references)
    texts = some(60)
    counted.measure(SPACE.encode([SPACE.parse(text) for text in texts]))
    assert len(counted.known.on("board")) == 20 and len(counted.known.on("server")) == 10
    for device in NAMES:
        assert set(counted.judging(device)) == set(texts)
    own = source(texts, begun=True)
    assert own.limit == 0 and len(own.known.on("board")) == 60, "a user's own table is known whole"


def test_networks_to_measure_are_those_of_the_table() -> None:
    counted, generator = published(), torch.Generator().manual_seed(0)
    texts = set(some(60))
    assert {a.text for a in SPACE.decode(counted.candidates(1000, generator))} == texts
    assert len(counted.candidates(25, generator)) == 25
    drawn = {a.text for a in SPACE.decode(counted.drawn(200, generator))}
    assert drawn < texts | {""} and len(drawn) > 50
    with pytest.raises(InputError, match="the table has no measurements of"):
        counted.measure(SPACE.encode([SPACE.parse(text) for text in TEXTS if text not in texts][:1]))


def test_a_judge_tells_of_answers_and_is_named() -> None:
    counted = published(judge=Doubling())
    texts = [some(60)[3], next(text for text in TEXTS if text not in some(60))]
    assert counted.judges and counted.listed_as == dict.fromkeys(UNITS, "judged")
    assert counted.listed("board", texts).tolist() == [[6.0, 1.0], [6.0, 1.0]]
    assert torch.equal(counted.table_costs("board"), table(some(60)).values["board"])
    assert "judged" in counted.notes[0] and "for 60 networks" in counted.notes[0]
    assert counted.kinds == dict.fromkeys(UNITS, "tabulated"), "what a search knows is measured"
    plain = published()
    assert plain.listed("board", texts).isnan().tolist() == [[False, False], [True, True]]


# ---- all networks ----


def test_of_a_whole_table_a_search_knows_what_it_measures() -> None:
    whole = source(TEXTS)
    assert whole.complete and whole.limit == 20 and not whole.held_out
    assert list(whole.known.on("board")) == list(whole.known.on("server")) == list(SPACE.references)
    asked = SPACE.encode([SPACE.parse(text) for text in (*OTHERS[:4], OTHERS[0], SPACE.references[0])])
    whole.measure(asked)
    assert whole.known.texts == [*SPACE.references, *OTHERS[:4]]
    assert list(whole.known.on("server")) == list(SPACE.references)  # unseen
    whole.measure(SPACE.encode([SPACE.parse(text) for text in OTHERS[:30]]))
    assert whole.known.texts == [*SPACE.references, *OTHERS[:10]]  # twenty in all
    row = TEXTS.index(OTHERS[2])
    assert whole.known.on("board")[OTHERS[2]] == (costs(1, "energy")[row].item(), costs(1)[row].item())
    assert len(whole.judging("server")) == len(whole.judging("board")) == 15625
    notes = " ".join(whole.notes)
    assert "table own.csv" in notes and "energy and latency of 20 networks on each search device" in notes


def test_one_that_goes_on_knows_the_same() -> None:
    first, second = source(TEXTS), source(TEXTS, begun=False)
    first.measure(SPACE.encode([SPACE.parse(text) for text in OTHERS[5:8]]))
    second.restore(first.state())
    for name in NAMES:
        assert second.known.on(name) == first.known.on(name)
    assert second.state() == first.state() and second.devices == first.devices


# ---- some networks ----


def test_of_another_table_a_search_knows_all_on_search_devices() -> None:
    texts = some(60)
    part = source(texts)
    assert not part.complete and part.limit == 0
    assert set(part.known.on("my phone")) == set(texts) and set(part.known.on("server")) == set(SPACE.references)
    held_out = part.held_out
    assert len(held_out) == 12 and not held_out & set(SPACE.references)
    assert set(part.judging("board")) == held_out
    assert set(part.judging("server")) == set(texts) - set(SPACE.references)
    onehot, target = part.training_table()
    learned = {architecture.text for architecture in SPACE.decode(onehot)}
    assert learned == set(texts) - held_out and target.isfinite().all()
    assert "for its 60 networks, predicted for all others; 12 of them judge the predictor alone" in part.notes[0]


@pytest.mark.parametrize(("networks", "heldout", "drawn"), [(30, 24, 6), (60, 5, 5), (200, 24, 24)])
def test_at_most_a_fifth_judges(networks: int, heldout: int, drawn: int) -> None:
    texts = some(networks)
    part = source(texts, heldout=heldout)
    assert len(part.held_out) == drawn <= HELD_OUT_SHARE * networks
    assert source(texts, heldout=heldout).held_out == part.held_out
    assert source(texts, heldout=heldout, seed=4).held_out != part.held_out


def test_what_is_not_in_the_table_is_not_listed() -> None:
    texts = some(40)
    absent = next(text for text in OTHERS if text not in texts)
    listed = source(texts).listed("server", [texts[3], absent, texts[0]])
    assert listed.dtype == torch.float64 and listed[1].isnan().all()
    rows = [TEXTS.index(texts[3]), TEXTS.index(texts[0])]
    assert listed[[0, 2], 0].tolist() == costs(2, "energy")[rows].tolist()
    assert listed[[0, 2], 1].tolist() == costs(2)[rows].tolist()
    assert source(texts).listed("server", []).shape == (0, 2)


def test_one_search_device_is_enough() -> None:
    part = source(some(40), search=NAMES[:1])
    assert [device.name for device in part.search_devices] == ["my phone"]
    assert part.training_table()[1].shape == (32, 1, 2)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"own\.csv has 29 networks per device, wanted at least 30"):
        source(some(29))
    without = [text for text in some(60) if text != SPACE.references[4]]
    with pytest.raises(InputError, match="no measurements of"):
        source(without)


def test_a_table_that_lost_networks_does_not_go_on() -> None:
    texts = some(60)
    lost = next(text for text in texts if text not in SPACE.references)
    shorter = source([text for text in texts if text != lost], begun=False)
    with pytest.raises(InputError, match=r"devices\.table: own\.csv has no \|.*, which the run began with; give it"):
        shorter.restore(source(texts).state())
