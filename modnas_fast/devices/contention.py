"""What the kernel tells of others on this machine while something is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from modnas_fast.devices.surroundings import available_cpus

#: shares from which on a cause is named
NAMED = 0.10
#: a clock below this share of the campaign's fastest is called throttled
THROTTLED = 0.85


@dataclass(frozen=True)
class Reading:
    """What happened between two looks, as shares of the time; 0 where the kernel does not tell.

    Args:
        waited: this thread could have run and had no CPU.
        stolen: of the CPUs' time, what the hypervisor gave to others.
        pressed: some thread of the machine had no CPU; those of another program on other CPUs disturb nobody.
        clock_mhz: of the CPUs at the end; None where it is not known.
    """

    waited: float = 0.0
    stolen: float = 0.0
    pressed: float = 0.0
    clock_mhz: float | None = None

    @property
    def disturbance(self) -> float:
        """The share of the time that was certainly lost."""
        return max(self.waited, self.stolen)


class Watch:
    """Looks at the kernel's counters again and again.

    Args:
        root: what /proc and /sys lie in.
        now: seconds.
    """

    def __init__(self, root: Path = Path("/"), now: Callable[[], float] = time.monotonic) -> None:
        self._root, self._now = root, now
        self._cpus = available_cpus()
        self._last = self._counters()

    def look(self) -> Reading:
        """What happened since the last look."""
        last, self._last = self._last, self._counters()
        seconds, waited, pressed, stolen, ticks = (max(0.0, b - a) for a, b in zip(last, self._last))
        if seconds <= 0:
            return Reading(clock_mhz=self._clock())
        return Reading(
            min(1.0, waited / seconds),
            min(1.0, stolen / ticks) if ticks else 0.0,
            min(1.0, pressed / seconds),
            self._clock(),
        )

    def _counters(self) -> tuple[float, ...]:
        """Seconds: by the clock, waited by this thread, under pressure; ticks of all CPUs: stolen, and in all."""
        schedule = _words(self._root / "proc" / "thread-self" / "schedstat")
        waited = float(schedule[1]) / 1e9 if len(schedule) > 1 else 0.0
        pressure = [word for word in _words(self._root / "proc" / "pressure" / "cpu") if word.startswith("total=")]
        pressed = float(pressure[0].removeprefix("total=")) / 1e6 if pressure else 0.0
        ticks = [float(word) for word in _words(self._root / "proc" / "stat")[1:9]]  # guests count among users
        stolen = ticks[7] if len(ticks) == 8 else 0.0
        return self._now(), waited, pressed, stolen, sum(ticks)

    def _clock(self) -> float | None:
        folder = self._root / "sys" / "devices" / "system" / "cpu"
        found = [_words(folder / f"cpu{cpu}" / "cpufreq" / "scaling_cur_freq") for cpu in self._cpus]
        known = [float(words[0]) / 1e3 for words in found if words]
        return fmean(known) if known else None


def causes(readings: Sequence[Reading]) -> list[str]:
    """What disturbed at least every second of some rounds, in words.

    >>> causes([Reading(waited=0.4), Reading(waited=0.3), Reading()])
    ['it waited 30 % of the time for a CPU']
    """
    waited, stolen, pressed = (
        median([getattr(reading, name) for reading in readings] or [0.0]) for name in ("waited", "stolen", "pressed")
    )
    found = [f"it waited {100 * waited:.0f} % of the time for a CPU"] if waited > NAMED else []
    found += [f"the hypervisor took {100 * stolen:.0f} % of the CPUs"] if stolen > NAMED else []
    if pressed > NAMED and not found:
        found.append(f"CPUs were short {100 * pressed:.0f} % of the time")
    clocks = [reading.clock_mhz for reading in readings if reading.clock_mhz]
    if clocks and min(clocks) < THROTTLED * max(clocks):
        found.append(f"the clock fell from {max(clocks):.0f} to {min(clocks):.0f} MHz")
    return found


def _words(file: Path) -> list[str]:
    """The words of the first line of a file of the kernel; none where it is not there or not to be read."""
    try:
        with file.open(encoding="ascii", errors="replace") as lines:
            return lines.readline().split()
    except OSError:
        return []
