"""Rounds and their correction on a made-up machine: whatever happens to it is taken out, or told."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pytest

from modnas_fast.devices.contention import Reading
from modnas_fast.devices.correction import correct
from modnas_fast.devices.rounds import Block, doubt, least_rounds, run_rounds, settled

#: ms of networks on a quiet machine; the last ten are anchors
TRUE_MS = [*np.geomspace(0.3, 6.0, 30).tolist(), *np.geomspace(0.4, 5.0, 10).tolist()]
ANCHORS = list(range(30, 40))
REPEATS, SPARE = 15, 5
LEAST = least_rounds(REPEATS)


@dataclass(frozen=True)
class Network:
    """A network of the made-up machine."""

    true_ms: float


class Machine:
    """Passes take the network's time by the speed of the moment, with some noise, and move the clock.

    Args:
        slowness: by the share of the campaign that is over, which exceeds 1 in spare rounds, and a random number.
    """

    def __init__(self, slowness: Callable[[float, random.Random], float], waited: float = 0.0, seed: int = 0) -> None:
        self.slowness, self.waited, self.random = slowness, waited, random.Random(seed)
        self.passes = 0

    def seconds(self, network: Network) -> float:
        done = self.passes / (len(TRUE_MS) * (REPEATS + 2))
        self.passes += 1
        return 1e-3 * network.true_ms * self.slowness(done, self.random) * self.random.lognormvariate(0, 0.04)

    def campaign(self, first_ms: list[float] | None = None) -> Block[Network]:
        block = Block([Network(ms) for ms in TRUE_MS], ANCHORS, first_ms)
        run_rounds([block], self.seconds, lambda network: Reading(waited=self.waited), REPEATS, SPARE)
        return block


def quiet(done: float, chance: random.Random) -> float:
    return 1.0


def drift(done: float, chance: random.Random) -> float:
    return 1.3 + 0.7 * done


def spikes(done: float, chance: random.Random) -> float:
    return chance.uniform(3, 500) if chance.random() < 0.2 else 1.0


def throttling(done: float, chance: random.Random) -> float:
    return 1.0 if done < 0.4 else 1.7


def slow_phase(done: float, chance: random.Random) -> float:
    return 2.5 if 0.3 < done < 0.6 else 1.0


def long_slow_phase(done: float, chance: random.Random) -> float:
    return 2.5 if done < 0.8 else 1.0


def steady_crowd(done: float, chance: random.Random) -> float:
    return 1.9


def wild(done: float, chance: random.Random) -> float:
    return chance.choice([1.0, 10.0, 100.0])


def much_slower(done: float, chance: random.Random) -> float:
    return 8.0


def nothing(network: Network) -> Reading:
    return Reading()


def first_values() -> list[float]:
    found = Machine(quiet).campaign().corrected(LEAST)
    return [float(found.latency_ms[place]) for place in ANCHORS]


def worst(block: Block[Network]) -> float:
    """The largest relative deviation of a network's latency from that of the quiet machine."""
    return float(np.abs(block.corrected(LEAST).latency_ms / np.array(TRUE_MS) - 1).max())


@pytest.mark.parametrize("event", [quiet, drift, spikes, throttling, slow_phase, long_slow_phase, steady_crowd])
def test_later_campaigns_are_in_the_units_of_the_first(event: Callable[[float, random.Random], float]) -> None:
    block = Machine(event, seed=1).campaign(first_values())
    assert worst(block) < 0.15 and doubt(block, LEAST) == ""


@pytest.mark.parametrize("event", [quiet, spikes, throttling, slow_phase])
def test_a_first_campaign_is_in_the_units_of_its_quiet_rounds(event: Callable[[float, random.Random], float]) -> None:
    block = Machine(event, seed=2).campaign()
    assert worst(block) < 0.15 and doubt(block, LEAST) == ""


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (Machine(wild), "20 of 20 rounds disturbed"),
        (Machine(quiet, waited=0.3), "20 of 20 rounds disturbed, it waited 30 % of the time for a CPU"),
        (Machine(much_slower), " times as slow as at first"),
    ],
)
def test_what_cannot_be_corrected_is_told(machine: Machine, why: str) -> None:
    assert why in doubt(machine.campaign(first_values()), LEAST)


@pytest.mark.parametrize("first_ms", [None, first_values()])
def test_where_most_passes_are_hit_the_quickest_tell(first_ms: list[float] | None) -> None:
    block = Machine(wild, seed=3).campaign(first_ms)
    errors = np.abs(block.corrected(LEAST).latency_ms / np.array(TRUE_MS) - 1)
    assert np.median(errors) < 0.1 and doubt(block, LEAST)


def test_a_change_that_anchors_do_not_share_is_told() -> None:
    first = [value * factor for value, factor in zip(first_values(), [0.6, 1.6] * 5)]
    assert "off their first values" in doubt(Machine(quiet).campaign(first), LEAST)


def test_without_anchors_nothing_is_corrected_but_spread_is_told() -> None:
    slow, spread = (Block([Network(ms) for ms in TRUE_MS]) for _ in range(2))
    run_rounds([slow], Machine(long_slow_phase).seconds, nothing, REPEATS, SPARE)
    assert np.median(slow.corrected(LEAST).latency_ms / TRUE_MS) == pytest.approx(2.5, rel=0.1)
    run_rounds([spread], Machine(wild).seconds, nothing, REPEATS, SPARE)
    assert "values known to" in doubt(spread, LEAST)


def test_calm_settings_stop_early_and_others_go_on_alone() -> None:
    calm, disturbed = (Block([Network(ms) for ms in TRUE_MS], ANCHORS) for _ in range(2))
    machines, of_calm = (Machine(quiet), Machine(wild)), {id(item) for item in calm.items}

    def seconds(network: Network) -> float:
        return machines[id(network) not in of_calm].seconds(network)

    told: list[int] = []
    run_rounds([calm, disturbed], seconds, nothing, REPEATS, SPARE, on_percent=told.append)
    assert len(calm.values_ms) == LEAST == 10 and settled(calm, LEAST)
    assert len(disturbed.values_ms) == REPEATS + SPARE and not settled(disturbed, LEAST)
    assert told == sorted(set(told)) and told[-1] == 100


@pytest.mark.parametrize(("limit_s", "rounds"), [(0.0, 3), (19.0, 3), (20.0, 4), (29.0, 4), (30.0, 6), (1000.0, 20)])
def test_rounds_beyond_those_wanted_are_made_as_far_as_the_time_allows(limit_s: float, rounds: int) -> None:
    """Passes take 2 and 6 s in turns: five, with the warm-up, take 18 s, the sixth is expected to take 2 s more."""
    block, seconds = Block([Network(1.0)]), cycle([2.0, 6.0])
    run_rounds([block], lambda network: next(seconds), nothing, 3, 17, limit_s)
    assert len(block.values_ms) == rounds


def test_every_item_is_visited_once_a_round_in_another_order() -> None:
    visited: list[float] = []
    items = [Network(float(number)) for number in range(1, 8)]

    def seconds(network: Network) -> float:
        visited.append(network.true_ms)
        return 1e-3

    run_rounds([Block(items)], seconds, nothing, 4)
    rounds = [tuple(visited[i : i + 7]) for i in range(0, len(visited), 7)]
    assert len(rounds) == len(set(rounds)) == 6 and all(sorted(each) == list(range(1, 8)) for each in rounds)


def test_a_correction_by_hand() -> None:
    """Round 2 is twice as slow; in round 3 the anchors disagree, so that it does not count."""
    values = np.array([[1.0, 2.0, 4.0, 10.0], [2.0, 4.0, 8.0, 20.0], [1.0, 9.0, 40.0, 77.0], [1.0, 2.0, 4.0, 12.0]])
    found = correct(values, [0, 1, 2], np.array([0.5, 1.0, 2.0]), np.zeros(4), 3)
    assert found.drift.tolist() == [2.0, 4.0, 9.0, 2.0] and found.calm.tolist() == [True, True, False, True]
    assert found.latency_ms.tolist() == [0.5, 1.0, 2.0, 5.0] and found.disagreement == 0
    assert found.noise.tolist() == [0, 0, 0, 0] and found.half_width.tolist() == [0, 0, 0, pytest.approx(0.1)]


@pytest.mark.parametrize(("repeats", "least"), [(1, 1), (5, 5), (6, 6), (9, 6), (15, 10), (30, 20)])
def test_two_thirds_of_the_repeats_are_enough(repeats: int, least: int) -> None:
    assert least_rounds(repeats) == least
