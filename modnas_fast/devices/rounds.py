"""Rounds of passes over networks and anchors, until the medians are known or a limit is reached.

Knows neither torch nor this machine: one pass, and the look at the machine, come from outside.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from modnas_fast.devices.contention import Reading, causes
from modnas_fast.devices.correction import Corrected, correct

WARMUP_ROUNDS = 2
#: medians of fewer rounds have no interval of 95 %
LEAST_ROUNDS = 6
#: rounds go on until the intervals of medians are no wider to either side, as a median over the networks
WANTED_WIDTH = 0.05
#: beyond these a setting is not trustworthy: intervals, anchors against their first values, and in common
DOUBTFUL_WIDTH = 0.10
DOUBTFUL_DISAGREEMENT = 0.10
DOUBTFUL_SLOWNESS = 3.0

Item = TypeVar("Item")


@dataclass
class Block(Generic[Item]):
    """The networks of one setting, which are visited one after the other in a round.

    Args:
        items: of which each is a network to be passed through.
        anchors: places of those that tell the machine's drift.
        first_ms: what the anchors took at first; None: that is found now.
    """

    items: Sequence[Item]
    anchors: Sequence[int] = ()
    first_ms: Sequence[float] | None = None
    values_ms: list[list[float]] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def corrected(self, least: int) -> Corrected:
        """The values of all items from the rounds so far."""
        disturbance = np.array([reading.disturbance for reading in self.readings])
        first = None if self.first_ms is None else np.array(self.first_ms)
        return correct(np.array(self.values_ms), self.anchors, first, disturbance, least)


def run_rounds(
    blocks: Sequence[Block[Item]],
    seconds_of: Callable[[Item], float],
    look: Callable[[Item], Reading],
    repeats: int,
    spare: int = 0,
    limit_s: float = math.inf,
    on_percent: Callable[[int], None] = lambda done: None,
) -> None:
    """Fills the blocks with rounds, in which all items of all blocks are visited once.

    The order of the items is drawn anew in every round, and that of the blocks turns round, so that a slow phase
    touches all alike. A block that is settled is left out of further rounds. Two rounds of warm-up are not counted.

    Args:
        blocks: settings; filled.
        seconds_of: makes one pass and times it.
        look: what happened since the last look, to the processor of an item.
        repeats: counted rounds that are wanted; two thirds of them are enough where all is calm.
        spare: rounds more for blocks that are not settled by then.
        limit_s: no spare round begins that would end, by its last passes, after so many seconds of passes.
        on_percent: called whenever another percent of the rounds that are wanted is over, as far as that can be
            foretold: 1 to 100; spare ones are made at 99.
    """
    order, least, wanted = random.Random(0), least_rounds(repeats), WARMUP_ROUNDS + repeats
    clock = _Clock(seconds_of, wanted, on_percent)
    for number in range(wanted + spare):
        left = [block for block in blocks if not settled(block, least)]
        expected = clock.begin(number, [item for block in left for item in block.items])
        if not left or (number >= wanted and clock.spent + expected > limit_s):
            break
        for block in left if number % 2 else reversed(left):
            values = [0.0] * len(block.items)
            look(block.items[0])
            for place in order.sample(range(len(values)), len(values)):
                values[place] = 1e3 * clock.seconds(block.items[place])
            if number >= WARMUP_ROUNDS:
                block.values_ms.append(values)
                block.readings.append(look(block.items[0]))
    if blocks:
        clock.tell(100)


class _Clock(Generic[Item]):
    """Times passes, and tells how much of all rounds is over, by what passes took last."""

    def __init__(self, seconds_of: Callable[[Item], float], rounds: int, on_percent: Callable[[int], None]) -> None:
        self._seconds_of, self._rounds, self._on_percent = seconds_of, rounds, on_percent
        self._last: dict[int, float] = {}
        self._round, self._expected, self._passed, self._told = 0, 0.0, 0.0, 0
        self.spent = 0.0

    def begin(self, number: int, items: Sequence[Item]) -> float:
        """The seconds that a round over these items is expected to take."""
        self._round, self._passed = number, 0.0
        self._rounds = max(self._rounds, number + 1)  # spare ones
        self._expected = sum(self._last.setdefault(id(item), 1.0) for item in items)
        return self._expected

    def seconds(self, item: Item) -> float:
        """Of one pass."""
        self._passed += self._last[id(item)]
        seconds = self._last[id(item)] = self._seconds_of(item)
        self.spent += seconds
        share = (self._round + min(1.0, self._passed / self._expected)) / self._rounds
        self.tell(min(99, int(100 * share + 1e-9)))  # whether spare rounds follow is known at the end
        return seconds

    def tell(self, percent: int) -> None:
        """Passes a percentage on that is larger than the last."""
        if percent > self._told:
            self._told = percent
            self._on_percent(percent)


def least_rounds(repeats: int) -> int:
    """Calm rounds that are enough where `repeats` are wanted: two thirds, but an interval wants six."""
    return min(repeats, max(LEAST_ROUNDS, -(-2 * repeats // 3)))


def settled(block: Block[Item], least: int) -> bool:
    """Whether a block needs no further rounds: enough of them were calm, and the medians are known closely."""
    if len(block.values_ms) < least:
        return False
    found = block.corrected(least)
    return int(found.calm.sum()) >= least and float(np.median(found.half_width)) <= WANTED_WIDTH


def doubt(block: Block[Item], least: int) -> str:
    """Why the values of a block are not to be trusted, in words; empty where they are."""
    found = block.corrected(least)
    rounds, disturbed = len(found.calm), int((~found.calm).sum())
    width = float(np.median(found.half_width))
    reasons = []
    if rounds - disturbed < least:
        reasons.append(f"{disturbed} of {rounds} rounds disturbed")
    if width > DOUBTFUL_WIDTH:
        reasons.append(f"values known to ±{100 * width:.0f} % only")
    if found.disagreement > DOUBTFUL_DISAGREEMENT:
        reasons.append(f"reference networks {100 * found.disagreement:.0f} % off their first values")
    if not 1 / DOUBTFUL_SLOWNESS < found.slowness < DOUBTFUL_SLOWNESS:
        reasons.append(f"{found.slowness:.2g} times as slow as at first")
    return ", ".join([*reasons, *causes(block.readings)]) if reasons else ""
