"""Costs measured on this machine: latencies of networks on its settings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
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

#: what a whole pass over a batch takes
LATENCY = "latency"


class MachineCosts(CostSource):
    """Settings of this machine as devices.

    Answers are predicted, for measurements of one campaign do not lie beside those of another to the percent; what was
    measured stands beside them (`found`).

    Args:
        campaign: which networks are measured on which settings.
        profiler: makes what measures a cost, when it is needed: it wants to know the task.
        costs: names of what is measured, times in ms.
        notes: what is told beside the measurements.
    """

    executes = "live"

    def __init__(
        self,
        campaign: Campaign,
        profiler: Callable[[str], Profiler],
        costs: Sequence[str] = (LATENCY,),
        notes: Sequence[str] = (),
    ) -> None:
        self.space = campaign.space
        self.metrics = dict.fromkeys(costs, "ms")
        self.kinds = dict.fromkeys(costs, "measured")
        self.splits: dict[str, Split] = {
            **{setting.name: "search" for setting in campaign.search},
            **{setting.name: "unseen" for setting in campaign.unseen},
        }
        self._campaign = campaign
        self._make_profiler = profiler
        self._profilers: dict[str, Profiler] = {}
        #: by cost
        self._before: dict[str, Latencies] = {cost: {} for cost in costs}
        self._after: dict[str, Latencies] = {cost: {} for cost in costs}
        self._notes = list(notes)
        #: processors that the networks before the search ran on
        self._processors: list[str] = []

    def begin(self, reporter: Reporter) -> None:
        for line in self._notes:
            reporter.say(f"  note: {line}")
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
        wanted: Sequence[tuple[Setting, Sequence[Architecture]]],
        reporter: Reporter,
        *,
        refuse: bool,
    ) -> dict[str, Latencies]:
        """By cost, one after the other."""
        found = {}
        for cost in self.metrics:
            if cost not in self._profilers:
                self._profilers[cost] = self._make_profiler(cost)
            with reporter.stage(title if len(self.metrics) == 1 else f"{title}, {cost}", 100) as advance:
                found[cost] = self._profilers[cost].latencies(
                    wanted, advance, lambda line: self._note(line, reporter), refuse=refuse
                )
        return found

    @property
    def known(self) -> KnownCosts:
        known = KnownCosts(self.splits)
        for device in self.splits:
            for text, values in _joined([found.get(device, {}) for found in self._before.values()]).items():
                known.add(device, text, values)
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
        return _joined([self._on(device, cost) for cost in self.metrics])

    def noise(self, device: str) -> dict[str, float]:
        return {
            cost: statistics.median(measurement.noise for measurement in self._on(device, cost).values())
            for cost in self.metrics
        }

    def doubts(self, device: str) -> dict[str, str]:
        found = {}
        for cost in self.metrics:
            reasons = dict.fromkeys(measurement.doubt for measurement in self._on(device, cost).values())
            found[cost] = "; ".join(why for why in reasons if why)
        return found

    def _on(self, device: str, cost: str) -> dict[str, Measurement]:
        return {**self._before[cost].get(device, {}), **self._after[cost].get(device, {})}

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def state(self) -> dict[str, Any]:
        first, *others = self.metrics
        return {
            "latencies": _plain(self._before[first]),
            "after": _plain(self._after[first]),
            "others": {cost: [_plain(self._before[cost]), _plain(self._after[cost])] for cost in others},
            "notes": self._notes,
            "processors": self._processors,
        }

    def restore(self, state: dict[str, Any]) -> None:
        first, *others = self.metrics
        kept = {first: (state["latencies"], state["after"]), **{cost: state["others"][cost] for cost in others}}
        self._before = {cost: _from_plain(before) for cost, (before, _) in kept.items()}
        self._after = {cost: _from_plain(after) for cost, (_, after) in kept.items()}
        self._notes, self._processors = list(state["notes"]), list(state["processors"])
        for found in self._before.values():
            if set(found) != set(self.splits):
                raise InputError(
                    f"the run measured {', '.join(found)}, this machine has {', '.join(self.splits)}: it began on "
                    "another machine; continue it there or start a new one"
                )


def _joined(found: Sequence[Mapping[str, Measurement]]) -> dict[str, Values]:
    """Of networks that every cost was measured of, all of them in order."""
    return {
        text: tuple(measurements[text].latency_ms for measurements in found)
        for text in found[0]
        if all(text in measurements for measurements in found)
    }


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
