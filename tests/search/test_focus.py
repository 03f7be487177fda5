"""Tests of preferences that are drawn where answers are wanted."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.method.preferences import make_preferences
from modnas_fast.method.region import EVERYWHERE, Region
from modnas_fast.search.focus import Focus, gaps_around

BASE = make_preferences("dirichlet", 2, {"beta": 1.0})
CHEAP = Region((EVERYWHERE, (0.0, 0.25)), (EVERYWHERE, EVERYWHERE))
CLOSE_TO_ONE = Region((EVERYWHERE, EVERYWHERE), ((0.9, 1.0), EVERYWHERE))


def looked(focus: Focus, devices: int) -> Focus:
    """A focus whose answers have a cost of the weight of the quality."""
    r = focus.candidates(torch.Generator().manual_seed(1))
    quality = torch.full((len(r),), float("nan"))
    focus.look(r, torch.stack([quality, r[:, 0]], dim=-1).expand(devices, -1, -1))
    return focus


def draws(focus: Focus, devices: int = 1, count: int = 600) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.stack([focus.draw(torch.arange(devices), generator) for _ in range(count)])  # [count, T, 2]


def test_before_the_first_look_draws_are_those_of_the_base() -> None:
    drawn = Focus(BASE, 0.5, [()], True, 2).draw(torch.arange(1), torch.Generator().manual_seed(3))
    assert torch.equal(drawn, BASE(1, torch.Generator().manual_seed(3)))


def test_the_share_is_drawn_in_each_device_s_own_region() -> None:
    found = draws(looked(Focus(BASE, 0.6, [[CHEAP], [], [CLOSE_TO_ONE]], False, 2), 3), devices=3)
    inside = [(found[:, 0, 0] <= 0.25), (found[:, 1, 0] <= 0.25), (found[:, 2, 0] >= 0.9)]
    shares = [float(row.float().mean()) for row in inside]
    assert shares == pytest.approx([0.6 + 0.4 * 0.25, 0.25, 0.6 + 0.4 * 0.1], abs=0.08)


def test_where_no_answer_lies_in_the_region_the_nearest_count() -> None:
    beyond = Region((EVERYWHERE, (1.5, 2.0)), (EVERYWHERE, EVERYWHERE))
    found = draws(looked(Focus(BASE, 1.0, [[beyond]], False, 2), 1))
    assert float(found[:, 0, 0].min()) > 0.99


def test_gaps_between_neighbouring_answers_are_drawn() -> None:
    focus = Focus(BASE, 1.0, [()], True, 2)
    r = focus.candidates(torch.Generator().manual_seed(1))
    jump = (r[:, 0] > 0.7).float()
    focus.look(r, torch.stack([jump, 1 - jump], dim=-1)[None])
    assert (draws(focus)[:, 0, 0] - 0.7).abs().max() < 0.01


def test_gaps_of_three_objectives() -> None:
    focus = Focus(make_preferences("dirichlet", 3, {"beta": 1.0}), 1.0, [()], True, 3)
    r = focus.candidates(torch.Generator().manual_seed(1))
    corner = (r[:, 2] > 0.8).float()
    found = gaps_around(r, torch.stack([r[:, 0] * 0 + 1, corner, 1 - corner], dim=-1))
    assert float((r[found > 0, 2] - 0.8).abs().max()) < 0.2
    assert 0 < int((found > 0).sum()) < 150


def test_equal_answers_leave_all_preferences_alike() -> None:
    focus = Focus(BASE, 1.0, [[CHEAP]], True, 2)
    r = focus.candidates(torch.Generator().manual_seed(1))
    focus.look(r, torch.ones(1, len(r), 2))
    assert 0.4 < float(draws(focus)[:, 0, 0].mean()) < 0.6


def test_a_continued_focus_draws_the_same() -> None:
    first = looked(Focus(BASE, 0.6, [[CHEAP]], True, 2), 1)
    second = Focus(BASE, 0.6, [[CHEAP]], True, 2)
    second.load_state_dict(first.state_dict())
    assert torch.equal(draws(first, count=20), draws(second, count=20))
