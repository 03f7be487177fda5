"""Costs as sums over parts: what a search knows, what judges it, and what an answer lists; from a configuration too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ofa_tables import write_blocks

from modnas_fast.config import make_config
from modnas_fast.devices.part_costs import JUDGING, PartCosts
from modnas_fast.runs.sources import make_source
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces import SearchSpace, make_space
from modnas_fast.spaces.mobilenetv3.block_names import NSGANETV2, TUTORIAL
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space("small", resolutions=(64, 80))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    write_blocks(tmp_path / "phone_lut.yaml", TUTORIAL, SPACE, (64, 80))
    write_blocks(tmp_path / "desk.yaml", NSGANETV2, SPACE, (64, 80))
    return tmp_path


def source_of(table: Path, space: SearchSpace = SPACE, **devices: object) -> PartCosts:
    options = {"table": str(table), "networks": 40, **devices}
    sections = {"space": {"name": space.name}, "devices": options}
    source = make_source(make_config(sections), space, lambda cost: pytest.fail(cost), dict)
    assert isinstance(source, PartCosts)
    source.begin(Silent())
    return source


def test_a_search_knows_some_and_an_answer_lists_all(tables: Path) -> None:
    source = source_of(tables, unseen=["desk"])
    assert source.splits == {"phone": "search", "desk": "unseen"} and source.kinds == {"latency": "tabulated"}
    drawn = source.drawn(200, torch.Generator().manual_seed(0))
    source.measure(drawn)
    assert (len(source.known.on("phone")), len(source.known.on("desk"))) == (40, 10)
    texts = [network.text for network in SPACE.decode(drawn)]
    exact = SPACE.part_table(tables)
    for device in ("phone", "desk"):
        assert torch.equal(source.listed(device, texts), exact.costs(device, drawn))
        assert source.known.on(device)[SPACE.references[3]] == tuple(
            exact.costs(device, SPACE.encode([SPACE.parse(SPACE.references[3])]))[0].tolist()
        )
    judging = source.judging("desk")
    assert 0.9 * JUDGING < len(judging) <= JUDGING
    assert source.listed_as == {"latency": "tabulated"} and "exact for every network" in source.notes[0]


def test_it_continues_where_it_was(tables: Path) -> None:
    before = source_of(tables / "phone_lut.yaml")
    before.measure(before.drawn(25, torch.Generator().manual_seed(0)))
    after = source_of(tables / "phone_lut.yaml")
    after.restore(before.state())
    assert dict(after.known.on("phone")) == dict(before.known.on("phone"))


def test_other_spaces_and_tables_are_refused_in_one_line(tables: Path) -> None:
    with pytest.raises(InputError, match="space nb201 reads no table of parts"):
        source_of(tables / "desk.yaml", make_space("nb201"))
    with pytest.raises(InputError, match=r"there is no .*none\.yaml"):
        source_of(tables / "none.yaml")
    with pytest.raises(InputError, match="the table has no 'pad'; it has desk, phone"):
        source_of(tables, search=["pad"])
    with pytest.raises(InputError, match="at least one device must be searched"):
        source_of(tables, unseen=["desk", "phone"])
    config = make_config(objectives=["error", "energy"], devices={"table": str(tables / "desk.yaml")})
    with pytest.raises(InputError, match="gives no 'energy'; it gives latency"):
        make_source(config, SPACE, lambda cost: pytest.fail(cost), dict)
