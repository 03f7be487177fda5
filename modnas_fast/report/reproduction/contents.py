"""What `reproduction.json` holds, read and checked before anything is drawn.

The file is one object, `schema` 1. A part that a reproduction left out may be absent, empty or null; the page
then says so in its place. Ratios are hypervolumes divided by that of the exact front, 0 to 1. Fronts hold points
[quality, cost], or with the third objective behind them, each normalised to 0 to 1 over the table of one device, which
the device's ranges undo. MODNAS is the first method, its paper's setting the second. The `evaluations` are true errors
looked up, those of the file by one search of MODNAS for all its devices together. Relative errors of the predictor are
medians; `adapted` is what they are after ten latencies of the device. A supernet's points are [inherited error, true
error] in percent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from modnas_fast.report.checked import Machine, Part, read_part
from modnas_fast.runtime.errors import InputError

FILE = "reproduction.json"

Split = Literal["search", "unseen"]
PerSplit = dict[Split, float | None]
Pair = tuple[float, float]
Triple = tuple[float, float, float]


class ReproducedDevice(Part):
    """A device of the table, with its exact front."""

    name: str
    split: Split
    exact_hypervolume: float | None = None
    exact_front: list[Pair] = []
    #: of the front as it was measured, where the exact one is judged
    measured_hypervolume: float | None = None
    quality_range: Pair | None = Field(None, validation_alias=AliasChoices("quality_range", "error_range"))
    cost_range: Pair | None = Field(None, validation_alias=AliasChoices("cost_range", "latency_range_ms"))


class Merit(Part):
    """How good what one run found for one device is."""

    hypervolume: float | None = None
    ratio: float | None = None
    igd_plus: float | None = None
    networks: float | None = None


class Score(Merit):
    """The same with the front of two objectives that was found."""

    front: list[Pair] = []


class SpatialScore(Merit):
    """The same with the front of three objectives that was found."""

    front: list[Triple] = []


class CurvePoint(Part):
    """Mean ratios at one moment of a run."""

    seconds: float | None = None
    evaluations: float | None = None
    ratio: PerSplit = {}


class Seed(Part):
    """One seed of a method, whatever its objectives are."""

    seed: int | None = None
    seconds: float | None = None
    evaluations: float | None = None
    curve: list[CurvePoint] = []


class Run(Seed):
    """One seed with two objectives."""

    devices: dict[str, Score] = {}
    #: by device and part of the space, such as a width, where fronts are compared inside of parts too
    parts: dict[str, dict[str, Merit]] = {}


class SpatialRun(Seed):
    """One seed with three objectives."""

    devices: dict[str, SpatialScore] = {}


class Method(Part):
    """A way of searching, with all its seeds."""

    name: str
    label: str
    evaluations_note: str = ""
    runs: list[Run] = []


class Quality(Part):
    """Rank correlations and median relative error of predicted latencies."""

    spearman: float | None = None
    kendall: float | None = None
    relative_error: float | None = None


class DeviceQuality(Quality):
    """The predictor on one device, without and with that device's own latencies."""

    split: Split
    adapted: Quality | None = None


class PredictorQuality(Part):
    """The predictor on every device."""

    seconds: float | None = None
    devices: dict[str, DeviceQuality] = {}


class AblationRun(Part):
    """One seed with one factor changed."""

    seed: int | None = None
    ratio: PerSplit = {}
    networks: PerSplit = {}
    seconds: float | None = None
    gradient_cosine: float | None = None
    weights_spread: float | None = None


class Ablation(Part):
    """One value of one factor."""

    factor: str
    value: str
    default: bool = False
    runs: list[AblationRun] = []


class Transfer(Part):
    """The same search with the errors of another data set."""

    task: str
    runs: list[Run] = []


class DeviceSplit(Part):
    """The same search with other devices unseen."""

    search: list[str]
    unseen: list[str]
    runs: list[Run] = []


class ThreeObjectives(Part):
    """The same search with a third objective."""

    devices: list[str] = []
    objectives: tuple[str, str, str]
    exact_hypervolume: dict[str, float] = {}
    exact_front: dict[str, list[Triple]] = {}
    runs: list[SpatialRun] = []


class SupernetQuality(Part):
    """Errors inherited from a supernet against those of networks trained alone."""

    seconds: float | None = None
    setting: str = ""
    spearman: float | None = None
    networks: int | None = None
    points: list[Pair] = []
    hypervolume_ratio: PerSplit = {}


class PublishedNetworks(Part):
    """Networks that others found, judged on every device as answers are."""

    #: what each is, in words
    networks: list[str] = []
    #: normalised, by device
    points: dict[str, list[Pair]] = {}
    #: how many of them the fronts of each method dominate or equal: by method and device, one per seed
    covered: dict[str, dict[str, list[int]]] = {}


class Measure(Part):
    """An objective: its name and unit."""

    name: str
    unit: str = ""

    @property
    def titled(self) -> str:
        """Name with unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


class Reproduction(Part):
    """`reproduction.json`, version 1."""

    schema_version: Literal[1] = Field(alias="schema")
    package: dict[str, Any] = {}
    machine: Machine = Machine()
    command: str = ""
    source: Literal["surrogate", "supernet"] | None = None
    benchmark: str = "NAS-Bench-201"
    protocol: list[str] = []
    #: what the default was to reach, at least: `search`, `unseen`, `lowest`, `networks`, `covered`
    targets: dict[str, float] = {}
    task: str = ""
    #: whether fronts are of values that a model tells, those of the exact front too
    judged: bool = False
    #: whether the cost is nevertheless exact
    exact_cost: bool = False
    quality: Measure = Measure(name="error", unit="%")
    cost: Measure = Measure(name="latency", unit="ms")
    seeds: list[int] = []
    quick: bool = False
    seconds: float | None = None
    evaluations: float | None = None
    notes: list[str] = []
    devices: list[ReproducedDevice] = []
    methods: list[Method] = []
    predictor: PredictorQuality | None = None
    ablations: list[Ablation] = []
    transfer: list[Transfer] = []
    splits: list[DeviceSplit] = []
    three_objectives: ThreeObjectives | None = None
    supernet: SupernetQuality | None = None
    published: PublishedNetworks | None = None
    #: what ratios are to, in words; empty: `exact` says it
    front: str = ""

    @model_validator(mode="after")
    def _names_differ(self) -> Reproduction:
        for kind, items in (("devices", self.devices), ("methods", self.methods)):
            if len({item.name for item in items}) < len(items):
                raise ValueError(f"two {kind} share one name")
        return self

    def names(self, split: Split) -> list[str]:
        """The devices of one split."""
        return [device.name for device in self.devices if device.split == split]

    @property
    def exact(self) -> str:
        """What ratios are to, in words."""
        if self.front:
            return self.front
        return "judged front of the table" if self.judged else "exact front"


def read_reproduction(folder: Path | str) -> Reproduction:
    """The checked content of `reproduction.json`.

    Raises InputError, naming the file and what mends it, where it is absent, cut short, of another schema
    version, or lacks what the page needs.
    """
    path = Path(folder) / FILE
    content = read_part(path, Reproduction, "reproduction")
    if content is None:
        raise InputError(f"{path} does not exist: make it with `modnas-fast reproduce`")
    return content
