"""Counts of networks by hand: parameters, FLOPs, and the activations that live at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.spaces import Architecture, Choice, SearchSpace
from modnas_fast.spaces.counting import Operation, count, peak


def test_a_buffer_lives_from_its_making_to_its_last_reading() -> None:
    #       0 ─► 1 ─► 2 ─┬─► 4
    #       └──► 3 ──────┘       3 waits while 1 and 2 are made
    program = [Operation((0,), (3,)), Operation((0,), (1,)), Operation((1,), (2,)), Operation((2, 3), (4,))]
    sizes = {0: 1, 1: 10, 2: 100, 3: 1000, 4: 10_000}
    assert peak(program, sizes, kept=[4]) == 11_100
    assert peak(program[:3], sizes, kept=[2, 3]) == 1110
    assert peak([], sizes, kept=[0]) == 1


def test_what_nobody_reads_does_not_live() -> None:
    assert peak([Operation((0,), (1, 2))], {0: 1, 1: 10, 2: 100}, kept=[1]) == 11


class Branches(nn.Module):
    """x + relu(Wx) with W of 6×6; in place or not."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.relu = nn.ReLU(inplace)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.linear(x)).view(-1, 6) + x


@pytest.mark.parametrize(("inplace", "states"), [(False, 3), (True, 3)])
def test_counts_by_hand(inplace: bool, states: int) -> None:
    counts = count(lambda: Branches(inplace), [6])
    assert (counts.parameters, counts.flops) == (42, 2 * 36)
    assert counts.memory == (4 * 42 + 4 * 6 * states) / 1e6


def test_what_stands_in_its_place_takes_no_room() -> None:
    assert count(nn.ReLU, [5]).memory * 1e6 == 40
    assert count(lambda: nn.ReLU(inplace=True), [5]).memory * 1e6 == 20
    assert count(nn.Identity, [5]).memory * 1e6 == 20


def test_counting_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    count(lambda: nn.Linear(3, 4), [3])
    assert torch.equal(before, torch.get_rng_state())


class Stack(SearchSpace):
    """One or two layers of 3 or 5 units, built in a count that the space keeps."""

    name = "stack"
    choices = (Choice("depth", ("1", "2")), Choice("width", ("3", "5")))
    references = ("1x3", "2x5")
    built = 0

    def format(self, indices: tuple[int, ...]) -> str:
        depth, width = (choice.options[index] for choice, index in zip(self.choices, indices, strict=True))
        return f"{depth}x{width}"

    def parse(self, text: str) -> Architecture:
        options = zip(self.choices, text.split("x"), strict=True)
        return self.architecture([choice.options.index(option) for choice, option in options])

    def canonical(self, onehot: Tensor) -> Tensor:
        return onehot

    def build(self, architecture: Architecture, *, inputs: int, input_shape: Sequence[int]) -> nn.Module:
        self.built += 1
        depth, width = (int(choice.options[i]) for choice, i in zip(self.choices, architecture.indices, strict=True))
        widths = [inputs] + [width] * depth
        return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))


def test_a_space_without_formulas_counts_each_network_once() -> None:
    space = Stack()
    onehot = space.encode([space.parse(text) for text in ("1x3", "2x5", "1x3", "2x3")]).view(2, 2, 4)
    counts = space.analytic(onehot, input_shape=(4,), inputs=4)
    assert list(counts) == ["parameters", "flops", "memory"]
    assert counts["parameters"].tolist() == [[15, 25 + 30], [15, 15 + 12]]
    assert counts["flops"].tolist() == [[24, 2 * (20 + 25)], [24, 2 * (12 + 9)]]
    assert counts["memory"].mul(1e6).flatten().tolist() == pytest.approx([60 + 28, 220 + 40, 60 + 28, 108 + 28])
    assert all(value.dtype == torch.float64 for value in counts.values()) and space.built == 3
    assert space.analytic(onehot[0, 1], input_shape=(4,), inputs=4)["parameters"].item() == 55 and space.built == 3
    assert space.analytic(onehot[0, 1], input_shape=(9,), inputs=9)["parameters"].item() == 80 and space.built == 4
    assert space.analytic(onehot[:0], input_shape=(4,), inputs=4)["flops"].shape == (0, 2)


def test_tied_weights_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    counts = count(Tied, [6])
    assert counts.parameters == 36 and counts.flops == 144


def test_networks_of_ids_are_counted() -> None:
    assert count(lambda: nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)), [3], ids=True).flops == 48
