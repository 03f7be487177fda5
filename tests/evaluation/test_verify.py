"""The choice of networks to verify."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modnas_fast.evaluation.fronts import Point
from modnas_fast.evaluation.verify import choose_spread


def front_of(names: str, device: float = 1.0) -> list[Point]:
    """A front by rising latency on which the error falls from letter to letter of the alphabet."""
    return [Point(name, (100.0 - ord(name), device * ord(name))) for name in names]


def test_the_ends_are_included_and_the_rest_is_spread_evenly() -> None:
    assert choose_spread([front_of("abcdefghi")], 3) == ["a", "e", "i"]
    assert choose_spread([front_of("abcdefghi")], 5) == ["a", "c", "e", "g", "i"]
    assert choose_spread([front_of("abcdefghi")], 2) == ["a", "i"]


@pytest.mark.parametrize("count", [3, 4, 100])
def test_all_are_taken_where_there_are_not_more(count: int) -> None:
    assert choose_spread([front_of("abc")], count) == ["a", "b", "c"]


def test_little_or_nothing_to_choose() -> None:
    assert choose_spread([front_of("abc")], 0) == []
    assert len(choose_spread([front_of("abc")], 1)) == 1
    assert choose_spread([], 3) == choose_spread([[], []], 3) == []
    assert choose_spread([front_of("a")], 2) == ["a"]


def test_networks_of_several_devices_are_taken_once() -> None:
    fronts = [front_of("abcde"), front_of("abcde", 7.0), front_of("ace", 0.1)]
    assert choose_spread(fronts, 9) == ["a", "b", "c", "d", "e"]
    assert choose_spread(fronts, 3) == ["a", "c", "e"]


@given(st.lists(st.sets(st.sampled_from("abcdefghijkl"), min_size=1), min_size=1, max_size=4), st.integers(2, 8))
def test_the_choice_is_distinct_and_holds_the_most_accurate(sets: list[set[str]], count: int) -> None:
    fronts = [front_of("".join(sorted(names)), 1.0 + i) for i, names in enumerate(sets)]
    chosen = choose_spread(fronts, count)
    everything = sorted(set().union(*sets))
    assert len(set(chosen)) == len(chosen) <= count and set(chosen) <= set(everything)
    assert chosen[-1] == everything[-1]
    firsts = {points[0].architecture for points in fronts if len(points) > 1 or len(sets) == 1}
    assert len(fronts) > 1 or chosen[0] in firsts
