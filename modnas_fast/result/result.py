"""The saved answer of a run, and its queries: no supernet and no data set needed, and mostly no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modnas_fast.devices.device import Device
from modnas_fast.evaluation.fronts import front, spread
from modnas_fast.result.answers import FrontPoint, Pick
from modnas_fast.result.answers_file import AnswersFile, open_answers
from modnas_fast.result.folder import ANSWERS_FILE, CONFIG_FILE, RESULT_FILE, SCHEMA, answered, trained_file
from modnas_fast.result.measured_later import measured_later
from modnas_fast.result.queries import FileQueries
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.objective import Objective
from modnas_fast.runtime.suggestions import did_you_mean

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from modnas_fast.result.content import QualityKind
    from modnas_fast.result.queries_reference import ReferenceQueries
    from modnas_fast.spaces import Architecture, SearchSpace


class Result:
    """What one run found. `Result.load(run)` reads it from the run's folder.

    A device is named by its name in `devices`, or given as a `Device` that the search never saw, made from the costs of
    the ten reference networks there by `unseen_device` (zero-shot).

    Questions are answered from the run's answers.npz, in microseconds and without torch. Where it is missing, belongs
    to another result.json, or cannot answer (`needs_torch` in its header says why), the run's networks and its space
    answer, in torch. `build` always needs torch.
    """

    def __init__(self, run: Path, content: dict[str, Any] | None, answers: AnswersFile | None = None) -> None:
        self.run = run
        self._content = content
        self._file = answers
        facts = answers.header if answers else self.content
        self.objectives = tuple(Objective(entry["name"], entry["unit"]) for entry in facts["objectives"])
        """The task's quality, then costs."""
        self.quality_kind: QualityKind = facts["quality_kind"]
        """What the run's qualities are: `"inherited"` from a supernet, or `"true"` ones of a table."""
        self._sources: dict[str, str] = facts["cost_sources"]

    @classmethod
    def load(cls, run: Path | str) -> Result:
        """The result in the folder `run`. Raises InputError where the run is missing, unfinished or damaged."""
        path = Path(run) / RESULT_FILE
        if not path.exists():
            hint = "continue it with --resume" if (Path(run) / CONFIG_FILE).exists() else "is that a run folder?"
            raise InputError(f"{path} does not exist: {hint}")
        answers = open_answers(Path(run) / ANSWERS_FILE, answered(Path(run)))
        if answers is not None:  # made of this very file, so that file is whole
            return cls(Path(run), None, answers)
        measured_later(Path(run))  # a fault in it is told as its own
        try:
            content = read_json(path)
            schema = content["schema"]
            if schema == SCHEMA:
                result = cls(Path(run), content)
                if result.devices and result.reference.qualities:
                    return result
                raise ValueError("no devices")
            made_by = " ".join(str(value) for value in content.get("package", {}).values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path} is damaged; delete it and make it again with --resume {run}") from None
        raise InputError(
            f"{path} has schema {schema}, this version reads {SCHEMA}: make the run again, or ask it with the version "
            f"that made it ({made_by or 'not named'})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Result.load, (self.run,)  # in another process it is read again

    @property
    def content(self) -> dict[str, Any]:
        """The content of result.json."""
        if self._content is None:
            self._content = read_json(self.run / RESULT_FILE)
        return self._content

    @property
    def quality(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    @property
    def costs(self) -> tuple[Objective, ...]:
        """The objectives behind the first."""
        return self.objectives[1:]

    @property
    def space(self) -> SearchSpace:
        """The search space; loads torch."""
        return self.reference.space

    @cached_property
    def devices(self) -> dict[str, Device]:
        """The devices of the run by name: those searched and those held out."""
        found = _devices_of_file(self._file) if self._file else self.content["devices"]
        return {
            entry["name"]: Device(
                entry["name"],
                tuple(entry["embedding"]),
                dict(entry["metrics"]),
                entry["split"],
                {cost.name: tuple(entry["ranges"][cost.key]) for cost in self.costs},
            )
            for entry in found
        }

    def device(self, name: str) -> Device:
        """The device of the run that is called `name`. Raises InputError, with the closest names, where none is."""
        if name not in self.devices:
            hint = did_you_mean(name, self.devices)
            raise InputError(f"device: unknown device {name!r}; {hint}this run has {', '.join(self.devices)}")
        return self.devices[name]

    @property
    def references(self) -> tuple[str, ...]:
        """The reference networks, whose costs tell what a device is."""
        return self._any.references

    def unseen_device(self, name: str, costs: Mapping[str, Sequence[float]]) -> Device:
        """A device that the search never saw, from the costs of the reference networks on it.

        Args:
            name: what it shall be called.
            costs: by key, such as {"latency_ms": [...]}, of `references` in their order; exact costs, such as
                parameters, are left out.

        Raises InputError where a cost is missing or unknown, or has not one positive number per reference network.
        """
        wanted = self.asked_of_devices
        if set(costs) != {cost.key for cost in wanted}:
            raise InputError(
                f"costs: wanted {', '.join(cost.key for cost in wanted)}, got {', '.join(costs) or 'none'}"
            )
        for key, row in costs.items():
            if len(row) != len(self.references):
                raise InputError(f"costs: wanted {len(self.references)} values of {key}, got {len(row)}")
        whole = {**self._any.exact_references, **costs}
        values = {cost.name: whole[cost.key] for cost in self.costs}
        return Device.from_references(name, values, {cost.name: cost.unit for cost in self.costs}, "unseen")

    @property
    def asked_of_devices(self) -> tuple[Objective, ...]:
        """The costs that somebody has to measure on a new device: all that are not exact."""
        return tuple(cost for cost in self.costs if self._sources[cost.key] != "exact")

    def front(
        self,
        device: str | Device,
        *,
        within: Mapping[str, tuple[float | None, float | None]] | None = None,
        count: int | None = None,
    ) -> list[FrontPoint]:
        """Distinct non-dominated networks on a device by rising costs.

        They are those of its rays and what else the search found for it; for a new device those of new rays and all
        networks that the run evaluated. A point that no preference led to has none.

        Args:
            device: name or device.
            within: a region: by key of an objective from and to, such as {"latency_ms": (3, 8)}; None for an open end.
            count: at most so many, far from each other in all objectives; None: all.

        Costs are the best known, as in `pick`. Networks whose quality the run does not know are left out. Raises
        InputError for an unknown device, objective or count, and an interval that is none.
        """
        if count is not None:
            _check_count(count)
        places = {objective.key: place for place, objective in enumerate(self.objectives)}
        region = [(places[key], *ends) for key, ends in _intervals(within or {}, list(places)).items()]
        found = self._front(self._device(device))
        found = [point for point in found if all(low <= point.values[k] <= high for k, low, high in region)]
        return found if count is None else spread(found, count)

    def _front(self, device: Device) -> list[FrontPoint]:
        preferences: list[tuple[float, ...] | None]
        if device == self.devices.get(device.name):
            rays, further = self._any.rays(device), self._any.archive(device)
            chosen = self._queries(device).listed(device, [*(text for text, _ in rays), *further])
            preferences = [*(r for _, r in rays), *(None for _ in further)]
        else:
            evaluated = self._queries(device).evaluated(device)
            chosen = [*(self.pick(device, preference=r) for r in self._any.preferences), *evaluated]
            preferences = [*self._any.preferences, *(None for _ in evaluated)]
        return front(
            [
                FrontPoint(
                    pick.text,
                    (pick.quality, *(cost.value for cost in pick.costs.values())),
                    preference,
                    tuple(cost.source for cost in pick.costs.values()),
                    pick.costs,
                    pick.measures,
                )
                for pick, preference in zip(chosen, preferences)
                if pick.quality is not None
            ]
        )

    def pick(
        self,
        device: str | Device,
        *,
        preference: Sequence[float] | None = None,
        max: Mapping[str, float] | None = None,
        known: bool = False,
    ) -> Pick:
        """The network for a device and either a preference or budgets.

        Args:
            device: name or device.
            preference: weights of the objectives in their order, at least 0, with a positive sum; they are divided by
                it.
            max: budgets by key, such as {"latency_ms": 5.0, "energy_mj": 40}: of all networks that the run evaluated,
                the one of least error (or whatever the task's quality is) whose costs are within all of them.
            known: answer a preference with the best network of the device's `front` instead of the hypernetwork's
                answer: that of the least weighted maximum of objectives (Chebyshev), each in the range of the front.
                More weight on one objective at the expense of the others then never makes it worse.

        A cost is the measured one where the network was measured on the device, else a table's, else predicted.
        Raises InputError for an unknown device, a bad preference, an unknown cost or budgets that no network meets.
        """
        device = self._device(device)
        if preference is not None and max is None:
            weights = _weights(preference, len(self.objectives))
            if known:
                return self._queries(device).listed(device, [self._preferred(device, weights).architecture])[0]
            return self._queries(device, preference=True).preferred(device, weights)
        if max is not None and preference is None and not known:
            return self._within(device, max, 1)[0]
        raise InputError("pick: give either preference, alone or with known, or max")

    def _preferred(self, device: Device, weights: Sequence[float]) -> FrontPoint:
        """The point of a device's front that preference weights lead to, without the hypernetwork."""
        points = self._front(device)
        if not points:
            raise InputError(f"known: the run knows no network of {device.name} with its quality")
        lows, highs = zip(*((min(column), max(column)) for column in zip(*(point.values for point in points))))

        def weighed(point: FrontPoint) -> tuple[float, ...]:
            scaled = ((v - low) / ((high - low) or 1.0) for v, low, high in zip(point.values, lows, highs))
            terms = [weight * value for weight, value in zip(weights, scaled)]
            return max(terms), sum(terms)

        return min(points, key=weighed)

    def top(self, device: str | Device, *, max: Mapping[str, float], count: int) -> list[Pick]:
        """The best networks for a device within budgets, at most `count`, by quality, then costs; as `pick` else."""
        _check_count(count)
        return self._within(self._device(device), max, count)

    def to_records(self) -> list[dict[str, Any]]:
        """All networks that the run evaluated, on each of its devices: a flat dictionary of plain values for each.

        Keys: `device`, `split`, `architecture`, and per objective its key, `KEY_source`, and for a cost
        `KEY_extrapolated`.
        """
        return [
            {"device": device.name, "split": device.split, **pick.to_record()}
            for device in self.devices.values()
            for pick in self._queries(device).evaluated(device)
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """`to_records` as a data frame. Raises InputError where pandas is missing."""
        return _pandas("to_pandas", "Result.to_records()").DataFrame(self.to_records())

    def to_dataframes(self) -> dict[str, pandas.DataFrame]:
        """All tables of the run as data frames by name: networks, fronts, scores, history, steps and anytime.

        docs/tables.md describes their columns. Raises InputError where pandas is missing.
        """
        from modnas_fast.result.tables import tables_of

        found = _pandas("to_dataframes", "modnas_fast.result.tables_of(run)")
        return {name: found.DataFrame(records) for name, records in tables_of(self.run).items()}

    def build(self, architecture: Architecture | str) -> nn.Module:
        """The architecture as an untrained network for the run's task; needs torch."""
        return self.reference.build(architecture)

    def trained(self, architecture: Architecture | str) -> nn.Module:
        """A network that the run verified, in evaluation mode with the weights that it was trained to; needs torch.

        `content["verified"]` lists such networks. Raises InputError for one whose weights the run has not.
        """
        from modnas_fast.runtime.checkpoint import load_weights

        text = architecture if isinstance(architecture, str) else architecture.text
        text = self.space.parse(text).text
        if not trained_file(self.run, text).exists():
            kept = ", ".join(self.trained_networks) or "none"
            raise InputError(f"architecture: {self.run} has no trained weights of {text}; it has those of: {kept}")
        network = self.build(text)
        load_weights(trained_file(self.run, text), network)
        return network.eval()

    @property
    def trained_networks(self) -> tuple[str, ...]:
        """Strings of the networks of `trained`."""
        verified = (entry["architecture"] for entry in self.content["verified"])
        return tuple(text for text in verified if trained_file(self.run, text).exists())

    def trained_picks(self, device: str | Device) -> list[Pick]:
        """What is known of `trained_networks` on a device, those of the best test quality first.

        Raises InputError where there are none.
        """
        tests = {entry["architecture"]: entry["test"] for entry in self.content["verified"]}
        if not self.trained_networks:
            raise InputError(f"{self.run} keeps no weights of verified networks; search with verify.networks=3, say")
        ordered = sorted(self.trained_networks, key=lambda text: tests[text])
        return self.reference.listed(self._device(device), ordered)

    def pick_trained(self, device: str | Device, *, max: Mapping[str, float]) -> Pick:
        """Of `trained_networks`, that of the best test quality among those within budgets; as `pick` else."""
        limits, picks = self._limits(max), self.trained_picks(device)
        within = [pick for pick in picks if all(pick.costs[key].value <= limit for key, limit in limits.items())]
        if not within:
            raise InputError(_none_within(limits, picks, picks[0].device, "trained"))
        return within[0]

    # ---- who answers ----

    @cached_property
    def reference(self) -> ReferenceQueries:
        """The reference of all queries, which `build` needs too. Raises InputError where torch is missing."""
        try:
            from modnas_fast.result.queries_reference import ReferenceQueries
        except ModuleNotFoundError as error:
            raise InputError(f"{self.run}: this needs {error.name}, which is missing; {self._remedy}") from None
        return ReferenceQueries(self.run, self.content, self.objectives, self.devices)

    @property
    def _remedy(self) -> str:
        if self._file is None:
            return f"install it, or let modnas-fast report {self.run} write {ANSWERS_FILE} where it is installed"
        reasons = [reason for reason in self._file.header["needs_torch"].values() if reason]
        return "; ".join(["install it", *(f"{ANSWERS_FILE} does not answer this: {reason}" for reason in reasons)])

    @cached_property
    def _from_file(self) -> FileQueries | None:
        return FileQueries(self._file, self.objectives, self.devices) if self._file else None

    @property
    def _any(self) -> FileQueries | ReferenceQueries:
        """What knows the run's facts."""
        return self._from_file or self.reference

    def _queries(self, device: Device, preference: bool = False) -> FileQueries | ReferenceQueries:
        """What can answer a question about a device."""
        file = self._from_file
        return file if file is not None and file.lacks(device, preference) is None else self.reference

    def _within(self, device: Device, budgets: Mapping[str, float], count: int) -> list[Pick]:
        limits = self._limits(budgets)
        queries = self._queries(device)
        found = queries.within(device, limits, count)
        if not found:
            raise InputError(_none_within(limits, queries.evaluated(device), device.name))
        return found

    def _limits(self, budgets: Mapping[str, float]) -> dict[str, float]:
        keys = [cost.key for cost in self.costs]
        unknown = [key for key in budgets if key not in keys]
        if unknown or not budgets:
            raise InputError(f"max: wanted a budget of {' or '.join(keys)}, got {', '.join(unknown) or 'nothing'}")
        limits = {key: float(limit) for key, limit in budgets.items()}
        for key, limit in limits.items():
            if math.isnan(limit):
                raise InputError(f"max: {key} must be a number, got nan")
        return limits

    def _device(self, device: str | Device) -> Device:
        if isinstance(device, str):
            return self.device(device)
        width = len(next(iter(self.devices.values())).embedding)
        if len(device.embedding) != width:
            raise InputError(
                f"device {device.name}: wanted an embedding of {width} numbers, "
                f"{len(self.references)} reference networks of {', '.join(cost.key for cost in self.costs)}, got "
                f"{len(device.embedding)}; Result.unseen_device makes one"
            )
        return device


def _check_count(count: object) -> None:
    """Raises InputError for what is no whole number of at least 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"count: wanted a whole number of at least 1, got {count!r}")


def _intervals(
    within: Mapping[str, tuple[float | None, float | None]], keys: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """From and to by key, infinite where an end is open. Raises InputError for another key, and where from > to."""
    found = {}
    for key, (low, high) in within.items():
        if key not in keys:
            raise InputError(f"within: wanted intervals of {' or '.join(keys)}, got one of {key}")
        first, last = -math.inf if low is None else float(low), math.inf if high is None else float(high)
        if not first <= last:
            raise InputError(f"within: {key} wants (from, to) with from <= to, got ({low}, {high})")
        found[key] = (first, last)
    return found


def _devices_of_file(file: AnswersFile) -> list[dict[str, Any]]:
    """The devices as result.json has them."""
    keys = list(file.header["cost_sources"])
    embeddings, ranges = file["devices.embedding"].tolist(), file["devices.ranges"].tolist()
    return [
        {**entry, "embedding": embedding, "ranges": dict(zip(keys, row))}
        for entry, embedding, row in zip(file.header["devices"], embeddings, ranges)
    ]


def _none_within(limits: Mapping[str, float], picks: Sequence[Pick], device: str, are: str = "evaluated") -> str:
    """Why no network is within the budgets, with the least that there is of each."""
    wanted = " and ".join(f"{key} of at most {limit:g}" for key, limit in limits.items())
    least = {key: min((pick.costs[key] for pick in picks), key=lambda cost: cost.value) for key in limits}
    found = ", ".join(
        f"{key} {cost.value:.4g}{' (predicted)' if cost.source == 'predicted' else ''}" for key, cost in least.items()
    )
    return f"max: no {are} network has {wanted} on {device}; the least there is: {found}"


def _weights(preference: Sequence[float], objectives: int) -> list[float]:
    values = [float(value) for value in preference]
    if len(values) != objectives:
        raise InputError(f"preference: wanted {objectives} weights, got {len(values)}")
    if not all(0 <= value < float("inf") for value in values) or sum(values) <= 0:
        raise InputError(f"preference: wanted weights of at least 0 with a positive sum, got {values}")
    return values


def _pandas(method: str, instead: str) -> Any:
    try:
        import pandas
    except ImportError:
        raise InputError(f"{method}: pandas is missing; pip install pandas, or use {instead}") from None
    return pandas
