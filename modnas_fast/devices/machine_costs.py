"""Costs measured on this machine: latencies of networks on its settings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from modnas_fast.devices.campaign import Campaign, Latencies
from modnas_fast.devices.cost_source import CostSource, KnownCosts, Values
from modnas_fast.devices.device import Split
from modnas_fast.devices.machine import Setting, fingerprint
from modnas_fast.devices.measure import Measurement
from modnas_fast.devices.profile import Profiler
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces import Architecture

LATENCY = "latency"


class MachineCosts(CostSource):
    """Settings of this machine as devices.

    Answers are predicted, for measurements of one campaign do not lie beside those of another to the percent; what was
    measured stands beside them (`found`).

    Args:
        campaign: which networks are measured on which settings.
        profiler: makes what measures, when it is needed: it wants to know the task.
    """

    executes = "live"
    metrics = {LATENCY: "ms"}
    kinds = {LATENCY: "measured"}

    def __init__(self, campaign: Campaign, profiler: Callable[[], Profiler]) -> None:
        self.space = campaign.space
        self.splits: dict[str, Split] = {
            **{setting.name: "search" for setting in campaign.search},
            **{setting.name: "unseen" for setting in campaign.unseen},
        }
        self._campaign = campaign
        self._make_profiler = profiler
        self._before: Latencies = {}
        self._after: Latencies = {}
        self._notes: list[str] = []
        #: processors that the networks before the search ran on
        self._processors: list[str] = []

    @cached_property
    def _profiler(self) -> Profiler:
        return self._make_profiler()

    def begin(self, reporter: Reporter) -> None:
        self._processors = _processors()
        wanted = self._campaign.before_search()
        self._before = self._measured("Measuring this machine", wanted, reporter, refuse=True)

    def finish(self, chosen: Sequence[str], reporter: Reporter) -> None:
        wanted = self._campaign.after_search([self.space.parse(text) for text in chosen])
        self._after = self._measured("Measuring chosen networks", wanted, reporter, refuse=False)
        if self._processors != (here := _processors()):
            self._note(
                f"measured on {', '.join(self._processors)} before the search, on {', '.join(here)} behind it: the "
                "run went on elsewhere, measurements and predictions do not compare",
                reporter,
            )

    def _note(self, line: str, reporter: Reporter) -> None:
        self._notes.append(line)
        reporter.say(f"  note: {line}")

    def _measured(
        self,
        title: str,
        wanted: Iterable[tuple[Setting, Sequence[Architecture]]],
        reporter: Reporter,
        *,
        refuse: bool,
    ) -> Latencies:
        with reporter.stage(title, 100) as advance:
            return self._profiler.latencies(wanted, advance, lambda line: self._note(line, reporter), refuse=refuse)

    @property
    def known(self) -> KnownCosts:
        known = KnownCosts(self.splits)
        for device, values in self._before.items():
            for text, measurement in values.items():
                known.add(device, text, (measurement.latency_ms,))
        return known

    @cached_property
    def _judges(self) -> list[str]:
        return [architecture.text for architecture in self._campaign.canonical(self._campaign.heldout)]

    @property
    def held_out(self) -> frozenset[str]:
        return frozenset(self._judges) - set(self.references)

    def judging(self, device: str) -> Mapping[str, Values]:
        found = self.found(device)
        return {text: found[text] for text in self._judges if text in found}

    def found(self, device: str) -> Mapping[str, Values]:
        return {text: (measurement.latency_ms,) for text, measurement in self._on(device).items()}

    def noise(self, device: str) -> dict[str, float]:
        return {LATENCY: statistics.median(measurement.noise for measurement in self._on(device).values())}

    def doubts(self, device: str) -> dict[str, str]:
        found = dict.fromkeys(measurement.doubt for measurement in self._on(device).values())
        return {LATENCY: "; ".join(why for why in found if why)}

    def _on(self, device: str) -> dict[str, Measurement]:
        return {**self._before.get(device, {}), **self._after.get(device, {})}

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def state(self) -> dict[str, Any]:
        return {
            "latencies": _plain(self._before),
            "after": _plain(self._after),
            "notes": self._notes,
            "processors": self._processors,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._before, self._after = _from_plain(state["latencies"]), _from_plain(state["after"])
        self._notes, self._processors = list(state["notes"]), list(state["processors"])
        if set(self._before) != set(self.splits):
            raise InputError(
                f"the run measured {', '.join(self._before)}, this machine has {', '.join(self.splits)}: it began on "
                "another machine; continue it there or start a new one"
            )


def _processors() -> list[str]:
    here = fingerprint()
    return [here.cpu, *here.gpus]


def _plain(latencies: Latencies) -> dict[str, dict[str, list[float | str]]]:
    return {
        device: {text: [value.latency_ms, value.noise, value.doubt] for text, value in values.items()}
        for device, values in latencies.items()
    }


def _from_plain(plain: dict[str, dict[str, list[Any]]]) -> Latencies:
    return {device: {text: Measurement(*value) for text, value in values.items()} for device, values in plain.items()}
