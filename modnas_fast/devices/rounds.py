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
        on_percent: called whenever another percent of the time is over, as far as that can be foretold: 1 to 100.
    """
    order = random.Random(0)
    last = {id(item): 1.0 for block in blocks for item in block.items}  # seconds of the last pass, for the progress
    least, rounds = least_rounds(repeats), WARMUP_ROUNDS + repeats + spare
    told, spent = 0, 0.0

    def tell(percent: int) -> None:
        nonlocal told
        if percent > told:
            told = percent
            on_percent(percent)

    for number in range(rounds):
        left = [block for block in blocks if not settled(block, least)]
        expected, passed = sum(last[id(item)] for block in left for item in block.items), 0.0
        if number >= WARMUP_ROUNDS + repeats and spent + expected > limit_s:
            break
        for block in left if number % 2 else reversed(left):
            values = [0.0] * len(block.items)
            look(block.items[0])
            for place in order.sample(range(len(values)), len(values)):
                key = id(block.items[place])
                passed += last[key]
                last[key] = seconds_of(block.items[place])
                values[place] = 1e3 * last[key]
                spent += last[key]
                tell(int(100 * (number + min(1.0, passed / expected)) / rounds + 1e-9))
            if number >= WARMUP_ROUNDS:
                block.values_ms.append(values)
                block.readings.append(look(block.items[0]))
    if blocks:
        tell(100)


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
