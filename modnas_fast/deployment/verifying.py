"""`verified_pick`: the best networks of a finished run within budgets are measured, and the run is asked again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modnas_fast.deployment.measuring import FromKit, Here, Taken
from modnas_fast.result import Pick, Result
from modnas_fast.result.compose_answers import keep_answers
from modnas_fast.result.measured_later import Pair, corrections, keep_measured
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.lock import locked
from modnas_fast.runtime.objective import Objective
from modnas_fast.runtime.progress import Reporter, Silent


@dataclass(frozen=True)
class Seen:
    """A network that was picked: by key of what can be measured, what was predicted and what was measured."""

    architecture: str
    #: as the run's predictor has it, without any correction
    predicted: dict[str, float]
    #: lacks what nobody has measured
    measured: dict[str, float]


@dataclass(frozen=True)
class Verified:
    """The answer after the best networks were measured, and how it came about."""

    pick: Pick
    before: Seen
    after: Seen
    #: how many networks were measured for it, and of how many the run knew the costs before
    networks: int
    known: int
    #: by key, what predictions on the device are multiplied by from now on
    corrections: dict[str, float]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As `Pick.to_dict`, with `verified`."""
        told = {
            "before": vars(self.before),
            "after": vars(self.after),
            "measured": self.networks,
            "known": self.known,
            "corrections": self.corrections,
            "notes": self.notes,
        }
        return {**self.pick.to_dict(), "verified": told}


def verified_pick(
    run: Path | str,
    device: str,
    budgets: Mapping[str, float],
    count: int,
    *,
    results: Path | None = None,
    reporter: Reporter | None = None,
) -> Verified:
    """The best network within budgets after the `count` best were measured, which corrects the predictions there.

    A pick that nobody has measured yet is measured as well, and the run is asked again, up to `count` times. Everything
    is kept in the run's folder, where later questions find it.

    Args:
        run: folder of a finished run.
        device: of the run.
        budgets: by key, as of `Result.pick`.
        count: how many of the best within the budgets, those that are measured already among them.
        results: values of a kit with these networks; None: they are measured here, where this machine is the device.
        reporter: where progress is told.

    Raises InputError as `Result.top` does, for a device that this machine is not, and for values that do not fit it.
    """
    run = Path(run).expanduser()
    result = Result.load(run)
    best = result.top(device, max=budgets, count=count)
    measuring = _Measuring(run, result, device, results, reporter or Silent())
    with locked(run):
        try:
            measuring.take([pick.text for pick in best])
            pick = Result.load(run).pick(device, max=budgets)
            for _ in range(count):
                if results is not None or not measuring.lacks(pick.text):
                    break
                measuring.take([pick.text])
                pick = Result.load(run).pick(device, max=budgets)
        finally:
            keep_answers(run)
    factors = corrections(run).get(device, {})
    before, after = (measuring.seen(text) for text in (best[0].text, pick.text))
    return Verified(pick, before, after, len(measuring.new), measuring.known, factors, measuring.notes)


class _Measuring:
    """What is measured of networks on one device of a run."""

    def __init__(self, run: Path, result: Result, device: str, results: Path | None, reporter: Reporter) -> None:
        self._run, self._device = run, result.devices[device]
        self._queries = result.reference
        self._costs = result.asked_of_devices
        if not self._costs:
            told = ", ".join(cost.key for cost in result.costs)
            raise InputError(f"--verify: {told} are exact, there is nothing to measure; leave it out")
        #: networks whose measurements no predictor learned from
        self._judging: set[str] = set()
        self._known = self._measured_by_run(list(self._queries.qualities))
        self._source = Here(run, result, device, reporter) if results is None else FromKit(results, self._queries.space)
        self._references = self._reference_costs()
        self.new: dict[str, dict[str, float]] = {}
        self.known = 0
        self.notes: list[str] = []

    def _measured_by_run(self, texts: Sequence[str]) -> dict[str, dict[str, float]]:
        """Measured costs by network and key, of networks of which every cost was measured."""
        found = {}
        for pick in self._queries.listed(self._device, texts):
            costs = {cost.key: pick.costs[cost.key] for cost in self._costs}
            if all(cost.source in ("measured", "tabulated") for cost in costs.values()):
                found[pick.text] = {key: cost.value for key, cost in costs.items()}
                if all(cost.source == "measured" for cost in costs.values()):
                    self._judging.add(pick.text)
        return found

    def _reference_costs(self) -> dict[str, list[float]]:
        """What the reference networks cost in the run, by key and in their order."""
        picks = self._queries.listed(self._device, self._queries.measured_references)
        return {cost.key: [pick.costs[cost.key].value for pick in picks] for cost in self._costs}

    def lacks(self, text: str) -> bool:
        """Whether nobody has measured a network."""
        return text not in self._known and text not in self.new

    def take(self, texts: Sequence[str]) -> None:
        """Measures those networks that nobody has, and keeps them, with what is known of the others."""
        missing = [text for text in texts if self.lacks(text)]
        self.known += len(texts) - len(missing)
        taken = self._source.costs(missing) if missing else {}
        lacking = [cost.key for cost in self._costs if missing and cost.key not in taken]
        if lacking:
            raise InputError(f"--results: {lacking[0]} was not measured; start measure.py with its energy options")
        pairs: dict[str, dict[str, Pair]] = {}
        for cost in self._costs:
            predicted = self._judged(self._predicted(texts, cost.key), cost)
            new = self._in_units_of_the_run(cost.key, taken[cost.key]) if missing else {}
            of_cost = {text: Pair(predicted[text], *new[text]) for text in texts if text in new}
            for text, pair in of_cost.items():
                self.new.setdefault(text, {})[cost.key] = pair.measured
            old = {text: self._known[text][cost.key] for text in texts if text in self._judging}
            pairs[cost.key] = {**{text: Pair(predicted[text], value) for text, value in old.items()}, **of_cost}
        keep_measured(self._run, self._device.name, pairs)

    def _in_units_of_the_run(self, key: str, taken: Taken) -> dict[str, tuple[float, str]]:
        """Values and doubts by network: a machine drifts between campaigns, as its reference networks tell."""
        ratios = [then / now for then, now in zip(self._references[key], taken.references, strict=True)]
        unit = statistics.median(ratios)
        spread = statistics.median(abs(ratio / unit - 1) for ratio in ratios)
        self._source.check(spread, self._device.name)
        if abs(unit - 1) > taken.told_beyond:
            self.notes.append(
                f"the reference networks took {1 / unit:.2f} times as long as in the run; {key} is told in its units"
            )
        return {text: (unit * value, doubt) for text, (value, doubt) in taken.networks.items()}

    def _judged(self, predicted: Mapping[str, float], cost: Objective) -> dict[str, float | None]:
        """The same with None where a prediction is extrapolated."""
        beyond = self._queries.costs.beyond(self._device, cost, list(predicted.values()))
        return {text: None if outside else value for (text, value), outside in zip(predicted.items(), beyond)}

    def _predicted(self, texts: Sequence[str], key: str) -> dict[str, float]:
        """By network, as the run's predictor has it."""
        cost = next(cost for cost in self._costs if cost.key == key)
        onehot = self._queries.space.encode([self._queries.space.parse(text) for text in texts])
        return dict(zip(texts, self._queries.costs.predict(self._device, cost, onehot)))

    def seen(self, text: str) -> Seen:
        """What is known of a network that was picked."""
        predicted = {cost.key: self._predicted([text], cost.key)[text] for cost in self._costs}
        return Seen(text, predicted, {**self._known.get(text, {}), **self.new.get(text, {})})
