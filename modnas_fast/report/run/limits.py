"""From where on a number of the summary asks for attention, why there, and what is to be done; words of the summary."""

from __future__ import annotations

from typing import Literal, NamedTuple

Tone = Literal["", "warn", "alarm"]


class Limit(NamedTuple):
    """A number warns beyond one value and alarms beyond another, or below them, and then advice is due."""

    warns: float
    alarms: float
    advice: str
    below: bool = False

    def tone(self, value: float | None) -> Tone:
        """How a value is shown; neutral where there is none.

        >>> [SPEARMAN.tone(value) for value in (0.95, 0.85, 0.5, None)], NOISE.tone(0.2)
        (['', 'warn', 'alarm', ''], 'alarm')
        """
        if value is None:
            return ""
        beyond = [value < each if self.below else value > each for each in (self.alarms, self.warns)]
        return "alarm" if beyond[0] else "warn" if beyond[1] else ""


NOISE = Limit(0.05, 0.10, "Search again while the machine has nothing else to do, or with more devices.repeats.")
"""Relative. Measuring goes on until medians are known to 5 %, and beyond 10 % they are not trusted (devices/rounds)."""

SPEARMAN = Limit(0.9, 0.7, "Measure what you choose (pick --verify 5), or search with more networks.", below=True)
"""Of normally distributed costs, one pair of networks in seven is in the wrong order at 0.9, one in four at 0.7."""

SPEARMAN_OF_TABLE = SPEARMAN._replace(
    advice="Answers have the table's own costs, but the search rested on predictions: give it more (devices.networks)."
)
"""Where the table has the costs of all networks, so that nothing is left to measure."""

DEVIATION = Limit(0.1, 0.3, "Choose by measured costs: modnas-fast pick --verify 5.")
"""Relative: where the table of verified networks begins to shade its cells, and where its last shade begins."""

DISTURBED = Limit(0.0, 0.5, "Do not choose by their costs; search again while the machine has nothing else to do.")
"""Share of devices: one is a reason to look; with most of them, the means of the summary rest on such measurements."""

GAIN = Limit(0.0, 0.0, "Random networks do as well: let it search longer (search.steps), or with other seeds.", True)
"""Of the hypervolume over random search's, relative: a search that loses against no search has found nothing."""

TERMS = {
    "Hypervolume": "Share of all combinations of objectives, from the best values to the reference point, that the "
    "networks found equal or beat: 0 to 1, more is better. Compare it on one device only.",
    "Noise": "How far one measurement of a network usually is from its median. Smaller differences say nothing.",
    "Spearman": "How well predictions order networks by their cost: 1 is the right order, 0 is chance.",
    "Rays": "Preferences between the objectives, spread evenly. The search answers each with one network.",
    "Split": "Search devices took part in the search. Unseen ones did not: the costs of ten networks are all it knows.",
}
"""What the words of the summary mean, for whoever reads a report for the first time."""
