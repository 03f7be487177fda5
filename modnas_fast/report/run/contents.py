"""What a run folder holds for its report, read from JSON and checked before anything is drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from modnas_fast.report.checked import Machine, Part, read_part
from modnas_fast.report.drawings import Drawings, read_drawings
from modnas_fast.report.quantities import Quantity
from modnas_fast.runtime.errors import InputError

SourceName = Literal["predicted", "judged", "tabulated", "measured", "exact"]
#: devices whose figures are shown, at most: of more, those that fare worst
MOST_DEVICES = 36
KNOWN = ("tabulated", "measured", "exact", "true")
"""Sources of values that are no estimates."""


class Point(Part):
    """One architecture on one device: a number under the key of every objective, and where its costs come from."""

    model_config = ConfigDict(extra="allow")

    architecture: str
    sources: dict[str, SourceName] = {}

    def __getitem__(self, objective: Quantity) -> float:
        """The value of an objective, in its unit."""
        value: float = (self.model_extra or {})[objective.key]
        return value

    def source(self, cost: Quantity) -> SourceName:
        """Where the value of a cost comes from."""
        return self.sources.get(cost.key, "predicted")


class Ray(Point):
    """The network chosen for one preference, a weight per objective."""

    preference: list[float]
    nondominated: bool = False


class FrontPoint(Point):
    """A non-dominated network; where verified, what its trained network and its measured costs are, by key."""

    #: that led to it; None: the search evaluated it on its way
    preference: list[float] | None = None
    nondominated: bool = True
    test: dict[str, float] = {}
    measured: dict[str, float] = {}
    #: further ones of the test part with inherited weights, by name
    measures: dict[str, float] = {}

    def checked(self, objective: Quantity) -> float | None:
        """The value that verification found."""
        return self.test.get(objective.key, self.measured.get(objective.key))


class PredictorMerit(Part):
    """How good predictions of a cost on a device are, judged on some networks."""

    spearman: float | None = None
    networks: int | None = None


class Trust(Part):
    """Whether the measurements of a cost on a device are trustworthy, and why not."""

    trustworthy: bool = True
    why: str = ""


class Baseline(Part):
    """What a black-box search on the same weights found for a device."""

    hypervolume: float | None = None


class RegionOf(Part):
    """A part of a device's front that counted more: from, to; None for an open end."""

    #: by key of an objective
    within: dict[str, tuple[float | None, float | None]] = {}


class DeviceResult(Part):
    """What the search found for one device; entries of costs stand under their keys."""

    name: str
    split: Literal["search", "unseen"]
    ranges: dict[str, tuple[float, float]] = {}
    noise: dict[str, float | None] = {}
    trust: dict[str, Trust] = {}
    predictor: dict[str, PredictorMerit] = {}
    hypervolume_bounds: dict[str, tuple[float, float]] = {}
    hypervolume: float | None = None
    hypervolume_front: float | None = None
    hypervolume_random: float | None = None
    hypervolume_ratio: float | None = None
    hypervolume_front_ratio: float | None = None
    hypervolume_ratio_measured: float | None = None
    baselines: dict[str, Baseline] = {}
    distinct_nondominated: int | None = None
    front_networks: int | None = None
    monotone: float | None = None
    covered: float | None = None
    covered_front: float | None = None
    regions: list[RegionOf] = []
    region_networks: int | None = None
    rays: list[Ray]
    front: list[FrontPoint]
    random: list[Point] = []

    @property
    def unseen(self) -> bool:
        """Whether the device took no part in the search."""
        return self.split == "unseen"

    @property
    def fares(self) -> float:
        """How well the search did: the share of the best hypervolume, where that is known, else the hypervolume."""
        return (self.hypervolume if self.hypervolume_ratio is None else self.hypervolume_ratio) or 0.0

    @property
    def doubt(self) -> str:
        """Why what was measured here is not trustworthy; empty where it is."""
        return "; ".join(trust.why for trust in self.trust.values() if not trust.trustworthy)

    @property
    def further(self) -> list[FrontPoint]:
        """Networks of the front that no preference led to."""
        return [point for point in self.front if point.preference is None]

    @property
    def points(self) -> list[Point]:
        """Every network that was found or drawn."""
        return [*self.rays, *self.front, *self.random]


class Pair(Part):
    """A cost as predicted and as measured."""

    predicted: float | None = None
    measured: float | None = None

    @property
    def relative_error(self) -> float | None:
        """(predicted - measured) / measured; None where one is absent or nothing positive was measured."""
        if self.predicted is None or self.measured is None or self.measured <= 0:
            return None
        return (self.predicted - self.measured) / self.measured


class Text(Part):
    """What a trained network made of the beginning of a text that it had not seen."""

    prompt: str
    continuation: str
    seed: int


class VerifiedNetwork(Part):
    """A network trained from scratch: its quality, its costs by device and key, and what it writes."""

    architecture: str
    inherited: float | None = None
    test: float | None = None
    #: whether it is no answer, but what one would take without a search
    familiar: bool = False
    costs: dict[str, dict[str, Pair]] = {}
    #: further ones of the test part, by name
    measures: dict[str, float] = {}
    sample: Text | None = None

    def pair(self, device: DeviceResult, cost: Quantity) -> Pair | None:
        """A cost on a device, where it was measured."""
        pair = self.costs.get(device.name, {}).get(cost.key)
        return pair if pair is not None and pair.measured is not None else None


class Named(Part):
    """Anything whose name is shown, with whatever else its file says about it."""

    model_config = ConfigDict(extra="allow")

    name: str


class Task(Named):
    """What was searched on; a data set of images tells its classes, their shape and its parts."""

    classes: int | None = None
    image: list[int] | None = None
    sizes: dict[str, int] = {}
    notes: list[str] = []


class HypervolumeProtocol(Part):
    """How hypervolumes were computed."""

    reference_point: list[float] = []
    normalisation: str = ""


class Space(Named):
    """The space, and whether its networks begin with trained weights."""

    begins_trained: bool = False


class Result(Part):
    """`result.json`, version 2."""

    schema_version: Literal[2] = Field(alias="schema")
    package: dict[str, Any] = {}
    space: Space
    task: Task
    quality_kind: Literal["inherited", "true", "judged"] = "inherited"
    objectives: list[Quantity] = Field(min_length=2)
    seed: int | None = None
    configuration: dict[str, Any] = {}
    machine: Machine = Machine()
    seconds: dict[str, float] = {}
    hypervolume_protocol: HypervolumeProtocol = HypervolumeProtocol()
    devices: list[DeviceResult] = Field(min_length=1)
    verified: list[VerifiedNetwork] = []
    #: devices that are left out here, see `RunContents.narrowed`
    left_out: int = Field(0, exclude=True)

    @property
    def quality(self) -> Quantity:
        """The objective of the task."""
        return self.objectives[0]

    @property
    def costs(self) -> list[Quantity]:
        """The objectives of the devices."""
        return self.objectives[1:]

    @property
    def exhaustive(self) -> bool:
        """Whether all networks are known, so that fronts and predictions are judged on all of them."""
        return any(device.hypervolume_ratio is not None for device in self.devices)

    @property
    def exact_front(self) -> str:
        """What a hypervolume's ratio is of, in words."""
        return "judged front of the table" if self.quality_kind == "judged" else "exact front"

    @property
    def judged_on(self) -> str:
        """The networks that predictors are judged on."""
        return "all networks of the table" if self.exhaustive else "held-out networks"

    def source(self, point: Point, objective: Quantity) -> str:
        """Where a point's value comes from, in a word."""
        return self.quality_kind if objective == self.quality else point.source(objective)

    def known(self, point: FrontPoint, objective: Quantity) -> float | None:
        """A value that is no estimate: what verification found, else what was not predicted or inherited."""
        checked = point.checked(objective)
        return point[objective] if checked is None and self.source(point, objective) in KNOWN else checked

    @model_validator(mode="after")
    def _names_differ(self) -> Result:
        for kind, names in (
            ("devices", [device.name for device in self.devices]),
            ("objectives", [objective.key for objective in self.objectives]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"two {kind} share one name")
        return self

    @model_validator(mode="after")
    def _points_are_whole(self) -> Result:
        keys = [objective.key for objective in self.objectives]
        for at, device in enumerate(self.devices):
            for kind in ("rays", "front", "random"):
                for place, point in enumerate(getattr(device, kind)):
                    _check_point(f"devices.{at}.{kind}.{place}", point, keys)
        return self


Row = list[float | None]


class HypervolumeHistory(Part):
    """Hypervolume [step, device] during the search."""

    step: list[int] = []
    devices: list[str] = []
    values: list[Row] = []

    @model_validator(mode="after")
    def _shapes_agree(self) -> HypervolumeHistory:
        _check_rows("values", self.values, len(self.step), len(self.devices))
        return self


class RefinementStep(Part):
    """What was logged of a step of the refinement: γ per device, and the mean cosine between their gradients."""

    step: int
    mgd_weights: Row = []
    gradient_cosine: float | None = None


class History(Part):
    """`history.json`: what was logged during the search, rows [step, device]."""

    devices: list[str]
    step: list[int]
    task_loss: list[Row] = []
    costs: dict[str, list[Row]] = {}
    mgd_weights: list[Row] = []
    gradient_cosine: Row = []
    learning_rate_w: Row = []
    refinement: list[RefinementStep] = []
    hypervolume: HypervolumeHistory = Field(default_factory=HypervolumeHistory)

    @model_validator(mode="after")
    def _shapes_agree(self) -> History:
        logged = {"task_loss": self.task_loss, "mgd_weights": self.mgd_weights}
        logged |= {f"costs.{key}": rows for key, rows in self.costs.items()}
        for name, rows in logged.items():
            _check_rows(name, rows, len(self.step), len(self.devices))
        for name in ("gradient_cosine", "learning_rate_w"):
            if (column := getattr(self, name)) and len(column) != len(self.step):
                raise ValueError(f"{name} has {len(column)} of {len(self.step)} steps")
        weights = [entry.mgd_weights for entry in self.refinement]
        _check_rows("refinement.mgd_weights", weights, len(weights), len(self.devices))
        return self


class Coverage(Part):
    """How often bounds of one confidence hold: of held-out networks a share, of chosen ones [within, of]."""

    held_out: float | None = None
    chosen: tuple[int, int] | None = None


class CostPredictor(Part):
    """Predictions of a cost on one device's held-out networks.

    `networks` is how many the correlations are over where only some of them are listed.
    """

    networks: int | None = None
    spearman: float | None = None
    kendall: float | None = None
    mape: float | None = None
    architectures: list[str] = []
    predicted: list[float] = []
    measured: list[float] = []
    #: by confidence, such as "0.9"; None in runs of before
    coverage: dict[str, Coverage] | None = None

    @property
    def judged_networks(self) -> int:
        """Networks that the correlations are over."""
        return len(self.measured) if self.networks is None else self.networks

    @model_validator(mode="after")
    def _lengths_agree(self) -> CostPredictor:
        if len(self.predicted) != len(self.measured):
            raise ValueError(f"{len(self.predicted)} predicted but {len(self.measured)} measured costs")
        return self


class DevicePredictor(Part):
    """The predictors of a device's costs, by their keys."""

    split: Literal["search", "unseen"]
    costs: dict[str, CostPredictor] = {}


class Predictor(Part):
    """`predictor.json`: the quality of the predictor, by device name."""

    devices: dict[str, DevicePredictor]

    def of(self, device: DeviceResult, cost: Quantity) -> CostPredictor | None:
        """The quality of a cost's predictions on a device; None for a cost that needs none."""
        part = self.devices.get(device.name)
        return part.costs.get(cost.key) if part is not None else None


class RunContents(Part):
    """The files of a run; all but the first are None where the run has none."""

    result: Result
    history: History | None
    predictor: Predictor | None
    drawings: Drawings | None = None

    def narrowed(self) -> RunContents:
        """The same with the devices whose figures are shown: all of few, else those that fare worst, in their order."""
        devices = self.result.devices
        if len(devices) <= MOST_DEVICES:
            return self
        worst = sorted(range(len(devices)), key=lambda place: devices[place].fares)[:MOST_DEVICES]
        kept = {"devices": [devices[place] for place in sorted(worst)], "left_out": len(devices) - MOST_DEVICES}
        return self.model_copy(update={"result": self.result.model_copy(update=kept)})


def read_run(run: Path | str) -> RunContents:
    """The checked contents of a run folder.

    Raises InputError, naming the file and what mends it, where `result.json` is absent or any of the
    files is cut short, of another schema version, or lacks something the report needs.
    """
    run = Path(run)
    result = read_part(run / "result.json", Result, "search")
    if result is None:
        raise InputError(
            f"{run / 'result.json'} does not exist: give the folder of a finished run, "
            f"or finish it with `modnas-fast search --resume {run}`"
        )
    history = read_part(run / "history.json", History, "search")
    predictor = read_part(run / "predictor.json", Predictor, "search")
    return RunContents(result=result, history=history, predictor=predictor, drawings=read_drawings(run))


def _check_rows(name: str, rows: list[Row], steps: int, devices: int) -> None:
    if rows and len(rows) != steps:
        raise ValueError(f"{name} has {len(rows)} rows for {steps} steps")
    for row in rows:
        if len(row) != devices:
            raise ValueError(f"{name} has a row of {len(row)} values for {devices} devices")


def _check_point(where: str, point: Point, keys: list[str]) -> None:
    """The point's numbers stand under keys that only the result knows, so no model of a point can check them."""
    values = point.model_extra or {}
    for key in keys:
        value = values.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{where}.{key} is {value!r:.40}, wanted a finite number")
    if isinstance(point, (Ray, FrontPoint)) and point.preference and len(point.preference) != len(keys):
        raise ValueError(f"{where}.preference has {len(point.preference)} weights for {len(keys)} objectives")
