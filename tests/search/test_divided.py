"""Fronts inside of a GPT's widths, against what is worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hw_gpt_bench import write_table
from torch import Tensor, nn

from modnas_fast.evaluation.benchmark import Benchmark, benchmark_of
from modnas_fast.evaluation.exact import ExactFront, Score
from modnas_fast.search.divided import Divided, parts_of
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.gpt import GPTSpace

WIDTHS = {"e192": 0, "e384": 1, "e768": 2}


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    monkeypatch.setenv("MODNAS_DATA", str(write_table(tmp_path)))
    return benchmark_of(GPTSpace("s"), "openwebtext", "hw-gpt-bench", ("P100",), ("a100",), ("energy",))


def judged(known: Benchmark, onehot: Tensor) -> Tensor:
    """[n, 2], in units."""
    assert known.judge is not None and known.table.judge is not None
    return torch.cat([known.judge(onehot)[:, None], known.table.judge("P100", onehot)], dim=1)


def front_by_hand(known: Benchmark, inside: Tensor) -> ExactFront:
    onehot = known.space.encode(known.architectures(range(len(known.errors))))[inside]
    kept = torch.ones(len(onehot), dtype=torch.bool)
    measured = ExactFront(known.errors[inside], known.table.values["P100"][inside], kept)
    values = judged(known, onehot)
    return ExactFront(values[:, 0], values[:, 1:], kept, measured)


def widths(known: Benchmark) -> Tensor:
    return known.space.encode(known.architectures(range(len(known.errors))))[:, :3].argmax(-1)


def test_which_choice_divides_a_space() -> None:
    assert parts_of(GPTSpace("s")) == WIDTHS and parts_of(NB201Space()) == {}


def assert_score(found: Score, wanted: Score) -> None:
    assert found.networks == wanted.networks
    assert found.to_dict() == pytest.approx(wanted.to_dict(), rel=1e-9)


def test_networks_of_the_table_are_scored_with_those_of_their_width(known: Benchmark) -> None:
    found = Divided(known).of_rows("P100", list(range(0, 400, 7)))
    of_row = widths(known)
    for part, place in WIDTHS.items():
        inside = of_row == place
        wanted = front_by_hand(known, inside)
        rows = [int(inside[:row].sum()) for row in range(0, 400, 7) if inside[row]]
        assert_score(found[part], wanted.score(rows))
        assert wanted.score(wanted.rows.tolist()).ratio == pytest.approx(1)


class Fixed(nn.Module):
    """Logits that say other things for every preference."""

    def __init__(self, options: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(24, options, generator=torch.Generator().manual_seed(0)))

    def forward(self, preference: Tensor, embedding: Tensor) -> Tensor:
        assert len(preference) == len(embedding) == 24
        return self.table


def test_answers_of_a_width_are_the_most_probable_networks_of_it(known: Benchmark) -> None:
    hypernet = Fixed(known.space.num_options)
    found = Divided(known).of_hypernetwork(hypernet, known.devices[0], 24)
    of_row, sizes = widths(known), known.space.group_sizes
    for part, place in WIDTHS.items():
        rows = []
        for logits in hypernet.table.detach():
            groups = logits.split(sizes)
            rows.append([place, *(int(group.argmax()) for group in groups[1:])])
        onehot = known.space.canonical(known.space.onehot(torch.tensor(rows)))
        wanted = front_by_hand(known, of_row == place)
        points = wanted.normalize(judged(known, torch.unique(onehot, dim=0)).numpy())
        assert_score(found[part], wanted.score_points(points))
        assert np.isfinite(points).all()
