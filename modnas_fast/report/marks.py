"""Colours, symbols and number formats that every figure, plot and table of the report shares."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b",
    "#332288", "#3aa5d9", "#882255", "#6b7d1a", "#555555",
)  # fmt: skip
"""Told apart with the common colour-vision deficiencies, by hue or by lightness."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "pentagon")
"""As Plotly names them."""

SPLITS = {"search": "search devices", "unseen": "unseen devices (zero-shot)"}
SPLIT_COLOURS = {"search": "#0b5c94", "unseen": "#9fc5e0"}
"""Search devices and unseen ones, where both stand side by side: told apart by lightness."""

RANDOM_COLOUR = "#9aa3ad"
FURTHER_COLOUR = "#7b6ca8"
"""Of networks that no preference led to."""
MEASURED_COLOUR = "#111827"
PREFERENCE_COLOURS = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
"""From a weight of the quality of 0 to 1, of the map "cividis"."""
CORNER_COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Of preferences that ask for one of three objectives alone; others are their mixtures."""

LOG_RATIO = 10.0
"""An axis is logarithmic where its largest value is this many times its smallest."""


class Source(NamedTuple):
    """How what is known of a cost is drawn: the symbol of a ray's network and of a random one, as Plotly names them."""

    symbol: str
    random: str


SOURCES = {
    "predicted": Source("circle", "x-thin"),
    "judged": Source("diamond", "y-down-thin"),
    "tabulated": Source("square", "cross-thin"),
    "measured": Source("triangle-up", "asterisk-thin"),
    "exact": Source("pentagon", "y-up-thin"),
}
"""Where a cost may come from, the least certain first."""


def colour(index: int) -> str:
    """The colour of the device at this place of `result.json`, or of the method at this place of a reproduction."""
    return COLOURS[index % len(COLOURS)]


def preference_colour(weights: Sequence[float]) -> str:
    """A preference's colour: mixed from those of the corners with three objectives, by the first weight else.

    >>> preference_colour([1.0, 0.0]), preference_colour([0.1, 0.9]), preference_colour([0.5, 0.5, 0.0])
    ('#fee838', '#1a345d', '#6a6859')
    """
    if len(weights) == len(CORNER_COLOURS):
        return _mixed(CORNER_COLOURS, weights)
    place = min(1.0, max(0.0, weights[0])) * (len(PREFERENCE_COLOURS) - 1)
    left = min(int(place), len(PREFERENCE_COLOURS) - 2)
    return _mixed(PREFERENCE_COLOURS[left : left + 2], (left + 1 - place, place - left))


def _mixed(colours: Sequence[str], weights: Sequence[float]) -> str:
    parts = [[int(text[at : at + 2], 16) for text in colours] for at in (1, 3, 5)]
    total = sum(weights) or 1.0
    mixed = (sum(c * w for c, w in zip(part, weights, strict=True)) / total for part in parts)
    return "#" + "".join(f"{min(255, max(0, round(value))):02x}" for value in mixed)


def device_symbol(index: int) -> str:
    """The symbol of the device at this place: the next one begins where the colours begin again."""
    return SYMBOLS[index // len(COLOURS) % 4]


def method_symbol(index: int) -> str:
    """The symbol of the method at this place: methods differ by symbol as well as by colour."""
    return SYMBOLS[index % len(SYMBOLS)]


def wants_log(values: Iterable[float]) -> bool:
    """Whether an axis over `values` should be logarithmic: all positive, and spread by `LOG_RATIO`.

    >>> wants_log([1.0, 20.0]), wants_log([0.0, 20.0]), wants_log([5.0, 8.0])
    (True, False, False)
    """
    numbers = list(values)
    return bool(numbers) and min(numbers) > 0 and max(numbers) >= LOG_RATIO * min(numbers)


def log_ticks(low: float, high: float) -> list[float]:
    """Round places for the ticks of a logarithmic axis from one decade below `low` to one above `high`.

    >>> log_ticks(3.0, 40.0)
    [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
    """
    factors = (1, 2, 5) if high < 100 * low else (1, 3) if high < 1000 * low else (1,)
    decades = range(math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 2)
    return [float(f"{factor}e{decade}") for decade in decades for factor in factors]


def number(value: float | None, digits: int = 3) -> str:
    """`value` to a fixed number of decimals, or a dash where there is none.

    >>> number(0.93456), number(3.14159, 1), number(None)
    ('0.935', '3.1', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def significant(value: float | None, digits: int = 3) -> str:
    """`value` to that many significant digits, without an exponent, or a dash where there is none.

    >>> significant(0.42371), significant(12.0), significant(1532.7), significant(1234567.0), significant(0.0)
    ('0.424', '12.0', '1533', '1,234,567', '0')
    """
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value:,.0f}".replace("-", "−")
    exponent = int(f"{abs(value):e}".split("e")[1])
    return number(value, max(0, digits - 1 - exponent))


def percent(fraction: float | None, digits: int = 1, signed: bool = False) -> str:
    """A fraction as a percentage.

    >>> percent(0.0312), percent(0.07, 0, signed=True), percent(None)
    ('3.1 %', '+7 %', '–')
    """
    if fraction is None:
        return "–"
    return f"{100 * fraction:{'+' if signed else ''}.{digits}f} %".replace("-", "−")


def count(value: float | None) -> str:
    """A number of things, or their mean to one decimal, or a dash where there is none.

    >>> count(14), count(13.5), count(None)
    ('14', '13.5', '–')
    """
    return str(value) if isinstance(value, int) else number(value, 1)


def span(bounds: tuple[float, float] | None) -> str:
    """Two numbers as a range, to three significant digits."""
    return "–" if bounds is None else f"{significant(bounds[0])} to {significant(bounds[1])}"


def duration(seconds: float) -> str:
    """A time span in words.

    >>> duration(8.25), duration(252.0), duration(7322)
    ('8.2 s', '4 min 12 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def signed(difference: float) -> str:
    """A difference to three decimals, with its sign.

    >>> signed(0.0123), signed(-0.5)
    ('+0.012', '−0.500')
    """
    return f"{difference:+.3f}".replace("-", "−")


def capital(text: str) -> str:
    """The text with a capital first letter, the rest as it is.

    >>> capital("energy (mJ)")
    'Energy (mJ)'
    """
    return text[:1].upper() + text[1:]


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """The values to five significant digits, which is what a figure can show.

    >>> rounded([0.123456789, None, 1234567.0])
    [0.12346, None, 1234600.0]
    """
    return [None if value is None else float(f"{value:.5g}") for value in values]


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation of a sample; the mean alone of one value.

    >>> mean_sd([0.98, 0.99]), mean_sd([0.5]), mean_sd([])
    ('0.985 ± 0.007', '0.500', '–')
    """
    if len(values) < 2:
        return number(mean(values), digits)
    return f"{number(statistics.fmean(values), digits)} ± {number(statistics.stdev(values), digits)}"


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there; None where none is."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def running_mean(values: Sequence[float | None], window: int) -> list[float | None]:
    """The mean over the last `window` values at each place; None where all of them are missing.

    >>> running_mean([1.0, 3.0, None, 5.0], 2)
    [1.0, 2.0, 3.0, 5.0]
    """
    return [mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]


def smoothing_window(steps: int) -> int:
    """The window in which a curve of that many logged steps is averaged: a fortieth, 1 for short ones."""
    return max(1, steps // 40)


def spread(items: Sequence[_T], count: int) -> list[_T]:
    """At most `count` of the items, evenly spread, with the first and the last.

    >>> spread("abcdefg", 3), spread("ab", 3), spread("", 3)
    (['a', 'd', 'g'], ['a', 'b'], [])
    """
    if len(items) <= count or count < 2:
        return list(items[:count])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def plain(text: str, limit: int = 40) -> str:
    r"""`text` as one short line that matplotlib draws as it stands: no formula, no hidden legend entry.

    >>> plain("a $x$ b"), plain("_gpu"), plain("abcdefghi", limit=5)
    ('a \\$x\\$ b', ' _gpu', 'ab…hi')
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    tail = (limit - 1) // 2
    short = line if len(line) <= limit else f"{line[: limit - 1 - tail]}…{line[-tail:]}"
    return (" " if short.startswith("_") else "") + short.replace("$", r"\$")
